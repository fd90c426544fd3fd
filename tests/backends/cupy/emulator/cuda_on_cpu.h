// CUDA C on the CPU, for tests: g++ compiles the kernels' own text after this header.
//
// Blocks run one after the other. The threads of a block are coroutines: each runs until it waits
// for the others (__syncthreads, a shuffle or a vote of its warp), and goes on when all have come.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define __shared__ static
#define DYNAMIC_SHARED(name) unsigned char* name = emulator::dynamic_shared

struct uint2 { unsigned x, y; };
struct uint3 { unsigned x, y, z; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
typedef uint3 dim3;

static uint3 threadIdx, blockIdx;
static dim3 blockDim, gridDim;
static const int warpSize = 32;

// ---- coroutines

#if defined(__x86_64__)
extern "C" void emulator_switch(void** saved_stack, void* next_stack);
asm(".text\n"
    ".local emulator_switch\n"
    ".type emulator_switch, @function\n"
    "emulator_switch:\n"
    "    pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15\n"
    "    movq %rsp, (%rdi)\n"
    "    movq %rsi, %rsp\n"
    "    popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp\n"
    "    ret\n");
#else
#include <ucontext.h>
// A stack is known by its context.
inline void emulator_switch(void** saved_stack, void* next_stack)
{
    ucontext_t here;
    *saved_stack = &here;
    swapcontext(&here, static_cast<ucontext_t*>(next_stack));
}
#endif

// What takes turns is optimised; the kernels are not, which would take longer than running them.
#pragma GCC push_options
#pragma GCC optimize("O1")

namespace emulator {

enum State { READY, AT_WARP, AT_BLOCK, DONE };

struct Thread {
    State state;
    char* stack;     // none before its first step and after its last
    void* position;  // where its stack stands
    unsigned mask;   // of the warp's lanes that it waits for
    int exchanges;
};

constexpr int MOST_THREADS = 1024;
constexpr size_t STACK_BYTES = 128 << 10;

static Thread threads[MOST_THREADS];
static unsigned char exchanged[2][MOST_THREADS][16];
static char* free_stacks[MOST_THREADS];
static int free_count = 0;
static int current = 0;
static void* scheduler = nullptr;
static void (*kernel_of_thread)() = nullptr;
alignas(256) static unsigned char dynamic_shared[256 << 10];

inline void wait(State state)
{
    Thread& me = threads[current];
    me.state = state;
    emulator_switch(&me.position, scheduler);
}

inline void run_thread()
{
    kernel_of_thread();
    wait(DONE);
}

inline void start(Thread& thread)
{
    thread.stack = free_count ? free_stacks[--free_count]
                              : static_cast<char*>(std::aligned_alloc(64, STACK_BYTES));
#if defined(__x86_64__)
    void** top = reinterpret_cast<void**>(thread.stack + STACK_BYTES);
    top[-2] = reinterpret_cast<void*>(&run_thread);  // where the first switch returns to
    thread.position = top - 8;                       // below it six registers
#else
    ucontext_t* context = reinterpret_cast<ucontext_t*>(thread.stack);
    getcontext(context);
    context->uc_stack.ss_sp = thread.stack + sizeof(ucontext_t);
    context->uc_stack.ss_size = STACK_BYTES - sizeof(ucontext_t);
    makecontext(context, &run_thread, 0);
    thread.position = context;
#endif
}

inline void step(int number)
{
    Thread& thread = threads[number];
    if (!thread.stack) start(thread);
    current = number;
    threadIdx = {number % blockDim.x, number / blockDim.x % blockDim.y,
                 number / blockDim.x / blockDim.y};
    emulator_switch(&scheduler, thread.position);
    if (thread.state == DONE) {
        free_stacks[free_count++] = thread.stack;
        thread.stack = nullptr;
    }
}

// Runs a warp until its threads are done or wait for the block; false where some wait for lanes
// that will not come.
inline bool run_warp(int first, int count, bool backward)
{
    for (;;) {
        for (int i = 0; i < count; ++i) {
            const int number = first + (backward ? count - 1 - i : i);
            if (threads[number].state == READY) step(number);
        }
        bool waiting = false;
        for (int i = first; i < first + count; ++i) {
            if (threads[i].state != AT_WARP) continue;
            waiting = true;
            for (int other = 0; other < count; ++other)
                if (threads[i].mask >> other & 1 && threads[first + other].state != AT_WARP)
                    return false;
        }
        if (!waiting) return true;
        for (int i = first; i < first + count; ++i)
            if (threads[i].state == AT_WARP) threads[i].state = READY;
    }
}

inline bool run_block(bool backward)
{
    const int count = blockDim.x * blockDim.y * blockDim.z, warps = (count + 31) / 32;
    for (int i = 0; i < count; ++i) threads[i] = {READY, nullptr, nullptr, 0, 0};
    for (;;) {
        for (int i = 0; i < warps; ++i) {
            const int first = 32 * (backward ? warps - 1 - i : i);
            if (!run_warp(first, count - first < 32 ? count - first : 32, backward)) return false;
        }
        bool waiting = false;
        for (int i = 0; i < count; ++i) {
            if (threads[i].state != AT_BLOCK) continue;
            threads[i].state = READY;
            waiting = true;
        }
        if (!waiting) return true;
    }
}

static const uint64_t* words = nullptr;  // the arguments of the launch that runs

template <class T>
T word(size_t number)
{
    T value;
    std::memcpy(&value, words + number, sizeof value);
    return value;
}

template <class... Types, size_t... numbers>
void call(void (*kernel)(Types...), std::index_sequence<numbers...>)
{
    kernel(word<Types>(numbers)...);
}

// What a thread does: a kernel, on the arguments of the launch.
template <class... Types>
void call(void (*kernel)(Types...))
{
    call(kernel, std::index_sequence_for<Types...>());
}

// Runs a grid; 0, or 1 where a warp's threads wait for each other in vain.
inline int launch(void (*thread)(), const unsigned* dimensions, const uint64_t* arguments, int backward)
{
    kernel_of_thread = thread;
    words = arguments;
    gridDim = {dimensions[0], dimensions[1], dimensions[2]};
    blockDim = {dimensions[3], dimensions[4], dimensions[5]};
    for (unsigned z = 0; z < gridDim.z; ++z)
        for (unsigned y = 0; y < gridDim.y; ++y)
            for (unsigned x = 0; x < gridDim.x; ++x) {
                blockIdx = {x, y, z};
                if (!run_block(backward)) return 1;
            }
    return 0;
}

// Every lane's value, as of the moment at which all lanes of the mask have come. Two buffers: a
// lane that is ahead writes to the other one.
template <class T>
const unsigned char (*all_lanes(unsigned mask, T value))[16]
{
    static_assert(sizeof(T) <= 16);
    Thread& me = threads[current];
    auto& buffer = exchanged[me.exchanges++ & 1];
    std::memcpy(buffer[current], &value, sizeof value);
    me.mask = mask;
    wait(AT_WARP);
    return buffer + current / 32 * 32;
}

template <class T>
T of_lane(unsigned mask, T value, int lane)
{
    T result = value;
    const auto* lanes = all_lanes(mask, value);
    if (lane >= 0 && lane < 32 && mask >> lane & 1) std::memcpy(&result, lanes[lane], sizeof result);
    return result;
}

inline int lane() { return current % 32; }

}  // namespace emulator

#pragma GCC pop_options

// ---- a block's and a warp's threads together

inline void __syncthreads() { emulator::wait(emulator::AT_BLOCK); }
inline void __syncwarp(unsigned mask = 0xffffffffu) { emulator::all_lanes(mask, 0); }
inline void __threadfence() {}

template <class T>
T __shfl_sync(unsigned mask, T value, int lane, int width = 32)
{
    return emulator::of_lane(mask, value, emulator::lane() / width * width + lane % width);
}

template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32)
{
    const int inside = emulator::lane() % width + (int)delta;
    return emulator::of_lane(mask, value, inside < width ? emulator::lane() + (int)delta : -1);
}

template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32)
{
    const int inside = emulator::lane() % width - (int)delta;
    return emulator::of_lane(mask, value, inside >= 0 ? emulator::lane() - (int)delta : -1);
}

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32)
{
    return emulator::of_lane(mask, value, emulator::lane() ^ bits);
}

inline unsigned __ballot_sync(unsigned mask, int predicate)
{
    const auto* lanes = emulator::all_lanes(mask, predicate);
    unsigned result = 0;
    for (int lane = 0; lane < 32; ++lane) {
        int value = 0;
        if (mask >> lane & 1) std::memcpy(&value, lanes[lane], sizeof value);
        result |= (unsigned)(value != 0) << lane;
    }
    return result;
}

inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) == mask; }

// ---- atomics: threads take turns

template <class T>
T atomicAdd(T* target, T value) { const T old = *target; *target = old + value; return old; }
template <class T>
T atomicMin(T* target, T value) { const T old = *target; if (value < old) *target = value; return old; }
template <class T>
T atomicMax(T* target, T value) { const T old = *target; if (value > old) *target = value; return old; }

// ---- intrinsics

template <class To, class From>
To emulator_bits(From from)
{
    To to;
    static_assert(sizeof to == sizeof from);
    std::memcpy(&to, &from, sizeof to);
    return to;
}

inline float __int_as_float(int x) { return emulator_bits<float>(x); }
inline float __uint_as_float(unsigned x) { return emulator_bits<float>(x); }
inline int __float_as_int(float x) { return emulator_bits<int>(x); }
inline unsigned __float_as_uint(float x) { return emulator_bits<unsigned>(x); }
inline double __longlong_as_double(long long x) { return emulator_bits<double>(x); }
inline long long __double_as_longlong(double x) { return emulator_bits<long long>(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((uint64_t)a * b >> 32); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline double rsqrt(double x) { return 1.0 / std::sqrt(x); }
inline float __fdividef(float a, float b) { return a / b; }
template <class T>
T __ldg(const T* source) { return *source; }
template <class T>
T min(T a, T b) { return b < a ? b : a; }
template <class T>
T max(T a, T b) { return a < b ? b : a; }

// ---- 16-bit floats, which the prelude converts by instructions of the GPU

inline float half_bits_to_float(unsigned short bits)
{
    const unsigned sign = (bits & 0x8000u) << 16, exponent = bits >> 10 & 31, fraction = bits & 1023;
    if (exponent == 31) return __uint_as_float(sign | 0x7f800000u | fraction << 13);
    const float size = exponent ? std::ldexp((float)(fraction | 1024), (int)exponent - 25)
                                : std::ldexp((float)fraction, -24);
    return sign ? -size : size;
}

// To the nearest, of two to the even one: in units of the last place, of which rint does the same.
inline unsigned short double_to_half_bits(double x)
{
    const unsigned short sign = std::signbit(x) ? 0x8000 : 0;
    const double size = std::fabs(x);
    if (x != x) return 0x7fff;
    if (size >= 65520.0) return sign | 0x7c00;
    int exponent = 0;
    std::frexp(size, &exponent);
    const int last = size < 0x1p-14 ? -24 : exponent - 11;  // the place of the last bit
    const double units = std::rint(std::ldexp(size, -last));
    // A normal number's leading bit carries into the exponent's field, and so does rounding up.
    return sign | (unsigned short)((last + 24) * 1024 + (int)units);
}

inline unsigned short float_to_half_bits(float x) { return double_to_half_bits(x); }
