"""The part that runs without Python: the loop over a program's calls, the barrier, the workers.

Written in LLVM's assembly text, which for loads, stores and jumps alone reads better than code that
builds it. All shared words are 64 bits; those that different threads write lie in
different cache lines (8 words).
"""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import llvmlite.binding as llvm

from minigraph.backends.llvm.language.code import compile_assembly
from minigraph.backends.llvm.target import Target, host

LINE = 8  # words of a cache line

# Words of the control block.
ARRIVED = 0 * LINE  # threads that have reached the barrier
PHASE = 1 * LINE  # how often it has opened
SLEEPERS = 2 * LINE  # threads that sleep until it opens
JOB = 3 * LINE  # rows, their number, threads, the refusal flag: as ``run`` takes them
MAILBOXES = 4 * LINE  # one line a worker: its state, then whether it was asleep when last called

# Words of a row.
FUNCTION, ARGUMENTS, FLAGS = 0, 1, 2
ROW = 3
THEN_WAIT, THEN_STOP_IF_REFUSED = 1, 2  # flags

# States of a worker's mailbox.
IDLE, CALLED, ASLEEP = 0, 1, 2

_SPINS_AT_BARRIER = 4_000  # about 0.2 ms; then a thread sleeps
_SPINS_BETWEEN_CALLS = 40_000  # about 2 ms; then a worker sleeps

_ASSEMBLY = """
declare i64 @llvm.readcyclecounter()

; Wait until all threads are here. The last one opens the barrier for the others. Whoever waits for
; long sleeps: beside other processes the thread that is waited for may need this very processor.
; A sleeper counts itself before it looks at the phase again; the opener looks at that count after
; it has changed the phase: one of the two sees the other.
define void @barrier(ptr %control, i64 %threads) nounwind {{
  %alone = icmp eq i64 %threads, 1
  br i1 %alone, label %done, label %arrive
arrive:
  %phase_word = getelementptr i64, ptr %control, i64 {phase}
  %phase = load atomic i64, ptr %phase_word acquire, align 8
  %before = atomicrmw add ptr %control, i64 1 acq_rel
  %now = add i64 %before, 1
  %last = icmp eq i64 %now, %threads
  br i1 %last, label %open, label %spin
open:
  store atomic i64 0, ptr %control monotonic, align 8
  %next = add i64 %phase, 1
  %old = atomicrmw xchg ptr %phase_word, i64 %next seq_cst
  %sleepers_word = getelementptr i64, ptr %control, i64 {sleepers}
  %sleepers = load atomic i64, ptr %sleepers_word seq_cst, align 8
  %someone = icmp ne i64 %sleepers, 0
  br i1 %someone, label %wake, label %done
wake:
  call void @wake_all(ptr %phase_word)
  ret void
spin:
  %spins = phi i64 [ 0, %arrive ], [ %more, %again ]
  %seen = load atomic i64, ptr %phase_word acquire, align 8
  %closed = icmp eq i64 %seen, %phase
  br i1 %closed, label %rest, label %done
rest:
  {pause}
  %more = add i64 %spins, 1
  %long = icmp ugt i64 %more, {spins_at_barrier}
  br i1 %long, label %sleep, label %again
sleep:
  %count_word = getelementptr i64, ptr %control, i64 {sleepers}
  %counted = atomicrmw add ptr %count_word, i64 1 seq_cst
  call void @sleep_while(ptr %phase_word, i64 %phase)
  %uncounted = atomicrmw sub ptr %count_word, i64 1 seq_cst
  br label %again
again:
  br label %spin
done:
  ret void
}}

; One thread's part of a program: every row in order. ``times`` gets the cycle before the first row,
; then that after each.
define void @run(ptr %rows, i64 %count, i64 %threads, ptr %refused, ptr %times, ptr %control,
                 i64 %thread) nounwind {{
  %mode = call i64 @flush_subnormals()
  %first = icmp eq i64 %thread, 0
  %asked = icmp ne ptr %times, null
  %timed = and i1 %first, %asked
  br i1 %timed, label %begin, label %enter
begin:
  %first_cycles = call i64 @llvm.readcyclecounter()
  store i64 %first_cycles, ptr %times, align 8
  br label %enter
enter:
  br label %head
head:
  %i = phi i64 [ 0, %enter ], [ %following, %next ]
  %more = icmp ult i64 %i, %count
  br i1 %more, label %body, label %done
body:
  %offset = mul i64 %i, {row}
  %row = getelementptr i64, ptr %rows, i64 %offset
  %function = load ptr, ptr %row, align 8
  %arguments_word = getelementptr i64, ptr %row, i64 {arguments}
  %arguments = load ptr, ptr %arguments_word, align 8
  %flags_word = getelementptr i64, ptr %row, i64 {flags}
  %flags = load i64, ptr %flags_word, align 8
  call void %function(ptr %arguments, i64 %thread, i64 %threads)
  %wait_bit = and i64 %flags, {then_wait}
  %waits = icmp ne i64 %wait_bit, 0
  br i1 %waits, label %wait, label %after
wait:
  call void @barrier(ptr %control, i64 %threads)
  br label %after
after:
  br i1 %timed, label %note, label %check
note:
  %cycles = call i64 @llvm.readcyclecounter()
  %end = add i64 %i, 1
  %time = getelementptr i64, ptr %times, i64 %end
  store i64 %cycles, ptr %time, align 8
  br label %check
check:
  %stop_bit = and i64 %flags, {then_stop}
  %checks = icmp ne i64 %stop_bit, 0
  br i1 %checks, label %look, label %next
look:
  ; Nobody may go on, and refuse something else, before all have read the same flag.
  %flag = load atomic i64, ptr %refused monotonic, align 8
  call void @barrier(ptr %control, i64 %threads)
  %stops = icmp ne i64 %flag, 0
  br i1 %stops, label %done, label %next
next:
  %following = add i64 %i, 1
  br label %head
done:
  call void @barrier(ptr %control, i64 %threads)
  call void @restore_mode(i64 %mode)
  ret void
}}

; Call all workers but thread 0. Returns how many of them are asleep and have to be woken.
define i64 @call_workers(ptr %control, i64 %threads) nounwind {{
  br label %head
head:
  %i = phi i64 [ 1, %0 ], [ %following, %body ]
  %sleepers = phi i64 [ 0, %0 ], [ %sum, %body ]
  %more = icmp ult i64 %i, %threads
  br i1 %more, label %body, label %done
body:
  %line = mul i64 %i, 8
  %place = add i64 %line, {mailboxes}
  %mailbox = getelementptr i64, ptr %control, i64 %place
  %state = atomicrmw xchg ptr %mailbox, i64 {called} acq_rel
  %asleep = icmp eq i64 %state, {asleep}
  %one = zext i1 %asleep to i64
  %was_asleep = getelementptr i64, ptr %mailbox, i64 1
  store i64 %one, ptr %was_asleep, align 8
  %sum = add i64 %sleepers, %one
  %following = add i64 %i, 1
  br label %head
done:
  ret i64 %sleepers
}}

; A worker: run what it is called for; return to Python, to sleep, when no call has come for long.
define void @serve(ptr %control, i64 %thread) nounwind {{
  %line = mul i64 %thread, 8
  %place = add i64 %line, {mailboxes}
  %mailbox = getelementptr i64, ptr %control, i64 %place
  %job = getelementptr i64, ptr %control, i64 {job}
  br label %fresh
fresh:
  br label %spin
spin:
  %spins = phi i64 [ 0, %fresh ], [ %more, %rest ]
  %state = load atomic i64, ptr %mailbox acquire, align 8
  %is_called = icmp eq i64 %state, {called}
  br i1 %is_called, label %work, label %idle
idle:
  %more = add i64 %spins, 1
  %long = icmp ugt i64 %more, {spins_between_calls}
  br i1 %long, label %retire, label %rest
rest:
  {pause}
  br label %spin
retire:
  %result = cmpxchg ptr %mailbox, i64 {idle}, i64 {asleep} acq_rel acquire
  %retired = extractvalue {{ i64, i1 }} %result, 1
  br i1 %retired, label %leave, label %work
work:
  store atomic i64 {idle}, ptr %mailbox release, align 8
  %rows = load ptr, ptr %job, align 8
  %count_word = getelementptr i64, ptr %job, i64 1
  %count = load i64, ptr %count_word, align 8
  %threads_word = getelementptr i64, ptr %job, i64 2
  %threads = load i64, ptr %threads_word, align 8
  %refused_word = getelementptr i64, ptr %job, i64 3
  %refused = load ptr, ptr %refused_word, align 8
  call void @run(ptr %rows, i64 %count, i64 %threads, ptr %refused, ptr null, ptr %control,
                 i64 %thread)
  br label %fresh
leave:
  ret void
}}
"""


# Sleeping until a word changes: the kernel looks at the word itself, so that no wake-up is missed.
_FUTEX = """
declare i64 @syscall(i64, ...)

define void @sleep_while(ptr %word, i64 %value) nounwind {{
  %low = trunc i64 %value to i32
  %result = call i64 (i64, ...) @syscall(i64 {futex}, ptr %word, i32 {wait}, i32 %low, ptr null)
  ret void
}}

define void @wake_all(ptr %word) nounwind {{
  %result = call i64 (i64, ...) @syscall(i64 {futex}, ptr %word, i32 {wake}, i32 2147483647)
  ret void
}}
"""
_FUTEX_NUMBERS = {"x86_64": 202, "aarch64": 98}  # of the system call, by machine
_WAIT_PRIVATE, _WAKE_PRIVATE = 128, 129

# Elsewhere a thread only offers its processor to others.
_YIELD = """
declare i32 @{name}()

define void @sleep_while(ptr %word, i64 %value) nounwind {{
  %result = call i32 @{name}()
  ret void
}}

define void @wake_all(ptr %word) nounwind {{
  ret void
}}
"""

# Results too small for a normal number become zero while a program runs (operands keep theirs):
# arithmetic on subnormal numbers takes a hundred times as long, and a network that has learned its
# batches by heart has gradients full of them.
_FLUSH = """
declare void @llvm.x86.sse.stmxcsr(ptr)
declare void @llvm.x86.sse.ldmxcsr(ptr)

define i64 @flush_subnormals() nounwind {{
  %place = alloca i32, align 4
  call void @llvm.x86.sse.stmxcsr(ptr %place)
  %mode = load i32, ptr %place, align 4
  %flushing = or i32 %mode, {flush_to_zero}
  store i32 %flushing, ptr %place, align 4
  call void @llvm.x86.sse.ldmxcsr(ptr %place)
  %wide = zext i32 %mode to i64
  ret i64 %wide
}}

define void @restore_mode(i64 %mode) nounwind {{
  %place = alloca i32, align 4
  %low = trunc i64 %mode to i32
  store i32 %low, ptr %place, align 4
  call void @llvm.x86.sse.ldmxcsr(ptr %place)
  ret void
}}
"""
_FLUSH_TO_ZERO = 0x8000  # of the control and status register

_NO_FLUSH = """
define i64 @flush_subnormals() nounwind {{
  ret i64 0
}}

define void @restore_mode(i64 %mode) nounwind {{
  ret void
}}
"""


def _sleeping() -> str:
    number = _FUTEX_NUMBERS.get(platform.machine())
    if sys.platform == "linux" and sys.byteorder == "little" and number is not None:
        return _FUTEX.format(futex=number, wait=_WAIT_PRIVATE, wake=_WAKE_PRIVATE)
    return _YIELD.format(name="SwitchToThread" if sys.platform == "win32" else "sched_yield")


def _text(target: Target) -> str:
    pause = 'call void asm sideeffect "pause", ""()' if target.is_x86 else ""
    flush = (_FLUSH if target.is_x86 else _NO_FLUSH).format(flush_to_zero=_FLUSH_TO_ZERO)
    return (
        _sleeping()
        + flush
        + _ASSEMBLY.format(
            pause=pause,
            phase=PHASE,
            sleepers=SLEEPERS,
            job=JOB,
            mailboxes=MAILBOXES,
            row=ROW,
            arguments=ARGUMENTS,
            flags=FLAGS,
            then_wait=THEN_WAIT,
            then_stop=THEN_STOP_IF_REFUSED,
            idle=IDLE,
            called=CALLED,
            asleep=ASLEEP,
            spins_at_barrier=_SPINS_AT_BARRIER,
            spins_between_calls=_SPINS_BETWEEN_CALLS,
        )
    )


class Native:
    """The functions above, as Python calls them. They release the interpreter lock."""

    def __init__(self) -> None:
        target = host()
        data = compile_assembly(f'target triple = "{target.triple}"\n{_text(target)}', target)
        empty = llvm.parse_assembly("", llvm.create_context())
        self._engine = llvm.create_mcjit_compiler(empty, target.machine())
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(data))
        self._engine.finalize_object()
        word, pointer = ctypes.c_int64, ctypes.c_void_p
        self.run = self._function("run", None, pointer, word, word, pointer, pointer, pointer, word)
        self.call_workers = self._function("call_workers", word, pointer, word)
        self.serve = self._function("serve", None, pointer, word)

    def _function(
        self,
        name: str,
        result: type[ctypes._SimpleCData] | None,
        *arguments: type[ctypes._SimpleCData],
    ) -> Callable[..., Any]:
        prototype = ctypes.CFUNCTYPE(result, *arguments)
        return prototype(self._engine.get_function_address(name))


@lru_cache(maxsize=1)
def native() -> Native:
    """Compiled once a process (some milliseconds)."""
    return Native()
