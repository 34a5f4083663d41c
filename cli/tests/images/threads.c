/* Threads that hold known values in every x87, SSE and AVX register, and in the AVX-512 ones where
 * the CPU has them, until one of them crashes with its own still loaded.
 *
 *   threads N    N threads beside the first; the last one executes UD2 when all are ready
 *
 * Byte i of register r of thread t is t * 37 + r * 5 + i. The threads wait inside the assembly: no
 * compiled code runs between loading and the end. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static volatile int ready, threads;

struct values {
    _Alignas(64) unsigned char vector[32][64];
    uint64_t mask[8];
    double number;
    uint32_t mxcsr;
    uint16_t fcw;
};

static void fill(struct values *v, int t)
{
    for (int r = 0; r < 32; r++)
        for (int i = 0; i < 64; i++)
            v->vector[r][i] = (unsigned char)(t * 37 + r * 5 + i);
    for (int k = 0; k < 8; k++)
        v->mask[k] = 0x0123456789abcdefull * (uint64_t)(t + k + 1);
    v->number = t + 0.1;
    v->mxcsr = 0x1f80 | (uint32_t)(t % 4) << 13 | (uint32_t)(t % 2) << 6 | (uint32_t)(t % 64);
    v->fcw = (uint16_t)(0x37f & ~(t % 4 == 3 ? 0x300 : 0)) | (uint16_t)(t % 4) << 10;
}

#define X87 \
    "fninit; fldcw %[fcw]; fldpi; fldl %[number]; fld1; fldz; fchs; fldl2t\n" \
    "ldmxcsr %[mxcsr]\n"
#define WAIT \
    "lock incl %[ready]\n" \
    "test %[crash], %[crash]; jz 1f\n" \
    "0: pause; mov %[ready], %%eax; cmp %[threads], %%eax; jb 0b\n" \
    "ud2\n" \
    "1: pause; jmp 1b\n"
#define OPERANDS \
    [ready] "+m"(ready) : [vector] "r"(v->vector), [mask] "r"(v->mask), [number] "m"(v->number), \
    [mxcsr] "m"(v->mxcsr), [fcw] "m"(v->fcw), [threads] "m"(threads), [crash] "r"(crash) : "eax", "memory"

#define YMM(n) "vmovdqu " #n "*64(%[vector]), %%ymm" #n "\n"
#define ZMM(n) "vmovdqu64 " #n "*64(%[vector]), %%zmm" #n "\n"
#define MASK(n) "kmovq " #n "*8(%[mask]), %%k" #n "\n"
#define SIXTEEN(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7) f(8) f(9) f(10) f(11) f(12) f(13) f(14) f(15)
#define HIGH(f) f(16) f(17) f(18) f(19) f(20) f(21) f(22) f(23) f(24) f(25) f(26) f(27) f(28) f(29) f(30) f(31)

static void *hold(void *argument)
{
    int t = (int)(intptr_t)argument, crash = t == threads;
    static struct values all[64];
    struct values *v = &all[t];
    fill(v, t);
    /* Thread 1 has no AVX-512 state: its components stay initial. */
    if (__builtin_cpu_supports("avx512bw") && t != 1)
        __asm__ volatile(X87 SIXTEEN(ZMM) HIGH(ZMM) SIXTEEN(YMM) MASK(0) MASK(1) MASK(2) MASK(3)
                         MASK(4) MASK(5) MASK(6) MASK(7) SIXTEEN(ZMM) WAIT : OPERANDS);
    else if (__builtin_cpu_supports("avx"))
        __asm__ volatile(X87 SIXTEEN(YMM) WAIT : OPERANDS);
    else
        __asm__ volatile(X87 WAIT : OPERANDS);
    return NULL;
}

int main(int argc, char **argv)
{
    threads = argc > 1 ? atoi(argv[1]) : 4;
    if (threads < 1 || threads > 63)
        return 2;
    pthread_t thread;
    for (int t = 1; t <= threads; t++)
        if (pthread_create(&thread, NULL, hold, (void *)(intptr_t)t))
            return 2;
    pthread_join(thread, NULL);
    return 1;
}
