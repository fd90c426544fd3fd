// What every kernel may use. Compiled by nvrtc (C++17); tests compile the same text for the CPU.

// ---- constants

#ifndef INFINITY
#define INFINITY (__int_as_float(0x7f800000))
#endif
#ifndef NAN
#define NAN (__int_as_float(0x7fffffff))
#endif

// Shared memory whose size is that of the launch: DYNAMIC_SHARED(bytes); begins a kernel's body.
#ifndef DYNAMIC_SHARED
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#endif

// ---- 16-bit floats: two bytes in memory, float to compute with

struct half_t { unsigned short bits; };
struct bfloat16_t { unsigned short bits; };

#ifdef __CUDACC__
__device__ inline float half_bits_to_float(unsigned short bits)
{
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

__device__ inline unsigned short float_to_half_bits(float value)
{
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}

__device__ inline unsigned short double_to_half_bits(double value)
{
    unsigned short bits;
    asm("cvt.rn.f16.f64 %0, %1;" : "=h"(bits) : "d"(value));
    return bits;
}
#endif

__device__ inline float to_float(half_t x) { return half_bits_to_float(x.bits); }
__device__ inline float to_float(bfloat16_t x) { return __uint_as_float((unsigned)x.bits << 16); }

template <class T>
__device__ inline half_t to_half(T x) { return {float_to_half_bits((float)x)}; }
__device__ inline half_t to_half(double x) { return {double_to_half_bits(x)}; }

// To the nearest, of two to the even one; not a number stays so.
__device__ inline bfloat16_t float_to_bfloat16(float x)
{
    const unsigned bits = __float_as_uint(x);
    if (x != x) return {(unsigned short)(bits >> 16 | 0x40)};
    return {(unsigned short)((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

template <class T>
__device__ inline bfloat16_t to_bfloat16(T x) { return float_to_bfloat16((float)x); }

// ---- packs: neighbouring elements that are read or written at once, 16 bytes at most

template <class T, int N>
struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) Pack { T at[N]; };

template <int N, class T>
__device__ inline Pack<T, N> load_pack(const T* source)
{
    return *reinterpret_cast<const Pack<T, N>*>(source);
}

template <int N, class T>
__device__ inline void store_pack(T* target, const Pack<T, N>& pack)
{
    *reinterpret_cast<Pack<T, N>*>(target) = pack;
}

// ---- positions

// This thread's number among all of a grid with one axis.
template <class Index>
__device__ inline Index global_thread()
{
    return (Index)blockIdx.x * (Index)blockDim.x + (Index)threadIdx.x;
}

// ---- arithmetic

// Not a number where either is not.
template <class T>
__device__ inline T maximum(T a, T b) { return a >= b || a != a ? a : b; }
template <class T>
__device__ inline T minimum(T a, T b) { return a <= b || a != a ? a : b; }

template <class T>
__device__ inline T squared(T x) { return x * x; }

// The point that differences of n elements are taken from: of none, it is the next one, if finite.
__device__ inline double moments_point(double n, double point, double next)
{
    return n > 0.0 ? point : next - next == 0.0 ? next : 0.0;
}

// ---- a value that an op refuses: the first such position is kept, whatever the order of threads

__device__ inline void refuse(long long* refused, long long* position, long long i)
{
    *refused = 1;
    atomicMin(position, i);
}

// ---- random bits

// Philox-4x32-10 (Salmon et al. 2011): four words of a counter and a key.
__device__ inline uint4 philox(uint4 counter, uint2 key)
{
    for (int round = 0; round < 10; ++round) {
        const unsigned high0 = __umulhi(0xD2511F53u, counter.x), low0 = 0xD2511F53u * counter.x;
        const unsigned high1 = __umulhi(0xCD9E8D57u, counter.z), low1 = 0xCD9E8D57u * counter.z;
        counter = {high1 ^ counter.y ^ key.x, low1, high0 ^ counter.w ^ key.y, low0};
        key.x += 0x9E3779B9u;
        key.y += 0xBB67AE85u;
    }
    return counter;
}
