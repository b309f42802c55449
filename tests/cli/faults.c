/* Makes a system call of the process fail, or kills the process there. Loaded with LD_PRELOAD.
 *
 * A seccomp filter traps the calls that change files, so that it does not matter which library makes
 * them. FAULT_AT is the number of the call, from 1; FAULT_ERROR the error, or 0 to kill the process.
 * The number of calls is written to the file FAULT_COUNT at exit. */
#define _GNU_SOURCE
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

/* Sixth argument of the calls that the handler makes. The trapped calls have at most five. */
#define PASS 0x6c73746dUL
#define MAX_STANDARD_DESCRIPTOR 2

static long count, fault_at, fault_error;

static long pass(long number, long a, long b, long c, long d, long e) {
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = PASS;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static void trapped(int signal, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    long number = info->si_syscall;
    int is_output = number == SYS_write && registers[REG_RDI] <= MAX_STANDARD_DESCRIPTOR;
    (void)signal;
    if (!is_output && __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED) == fault_at) {
        if (fault_error == 0)
            kill(getpid(), SIGKILL);
        registers[REG_RAX] = -fault_error;
        return;
    }
    registers[REG_RAX] = pass(number, registers[REG_RDI], registers[REG_RSI], registers[REG_RDX],
                              registers[REG_R10], registers[REG_R8]);
}

static long variable(const char *name) {
    const char *value = getenv(name);
    return value ? atol(value) : 0;
}

#define TRAP(number) \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP)

__attribute__((constructor)) static void start(void) {
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[5])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PASS, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        TRAP(SYS_write),    TRAP(SYS_pwrite64), TRAP(SYS_openat),    TRAP(SYS_fsync),
        TRAP(SYS_fdatasync), TRAP(SYS_rename),   TRAP(SYS_renameat),  TRAP(SYS_renameat2),
        TRAP(SYS_mkdir),    TRAP(SYS_mkdirat),  TRAP(SYS_unlink),    TRAP(SYS_unlinkat),
        TRAP(SYS_rmdir),    TRAP(SYS_ftruncate), TRAP(SYS_flock),     TRAP(SYS_fchmod),
        TRAP(SYS_chmod),    TRAP(SYS_fallocate), TRAP(SYS_linkat),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    struct sigaction action = {0};
    fault_at = variable("FAULT_AT");
    fault_error = variable("FAULT_ERROR");
    action.sa_sigaction = trapped;
    action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
    if (sigaction(SIGSYS, &action, NULL) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        _exit(99);
}

__attribute__((destructor)) static void end(void) {
    const char *path = getenv("FAULT_COUNT");
    long calls = count;
    FILE *file;
    fault_at = 0;
    if (path && (file = fopen(path, "w"))) {
        fprintf(file, "%ld\n", calls);
        fclose(file);
    }
}
