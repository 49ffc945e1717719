// driver/repl_worker.c -- work of the REPL in processes of its own.
//
// The session itself only parses and elaborates. Passes, LLVM and the code that they make run in
// children made by fork(), which see all that the session holds. So neither an abort in LLVM, nor a
// crash, nor a want of memory, nor Ctrl-C ends more than the one input, and what a child allocated
// is gone with it. The session has one thread and never enters OpenMP, so forking is safe.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "driver/repl.h"

static void make_pipe(int ends[2]) {
    if (pipe(ends))
        world_error("pipe: %s", strerror(errno));
}

// The child's standard input is empty: its end must not move the script's file offset, nor may it
// take what is typed. What it says of errors goes where all else goes.
static void set_standard_files(void) {
    int none = open("/dev/null", O_RDONLY);
    if (none >= 0) {
        dup2(none, STDIN_FILENO);
        close(none);
    }
    dup2(STDOUT_FILENO, STDERR_FILENO);
}

Worker worker_start(Repl *repl, WorkerTask *task, const void *context) {
    int requests[2], replies[2];
    make_pipe(requests);
    make_pipe(replies);
    fflush(NULL);
    pid_t process = fork();
    if (process < 0)
        world_error("fork: %s", strerror(errno));
    if (process) {
        close(requests[0]);
        close(replies[1]);
        return (Worker){process, requests[1], replies[0]};
    }
    signal(SIGINT, SIG_DFL);
    set_standard_files();
    close(requests[1]);
    close(replies[0]);
    bool good = task(repl, context, requests[0], replies[1]);
    good = fflush(repl->out) == 0 && good;
    _exit(good ? EXIT_SUCCESS : EXIT_PROGRAM_WRONG);
}

bool worker_end(Repl *repl, Worker *worker) {
    close(worker->requests);
    close(worker->replies);
    int status = 0;
    while (waitpid(worker->process, &status, 0) < 0 && errno == EINTR)
        continue;
    *worker = (Worker){0};
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGINT)
        fprintf(repl->out, "kdc: interrupted\n");
    else if (WIFSIGNALED(status))
        fprintf(repl->out, "kdc: this ended by signal %d (%s); the session goes on\n",
                WTERMSIG(status), strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status) > EXIT_PROGRAM_WRONG) // it has said why
        fprintf(repl->out, "kdc: the session goes on\n");
    return WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS;
}

bool worker_read(int from, void *bytes, size_t size) {
    char *at = bytes;
    while (size) {
        ssize_t got = read(from, at, size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        at += got;
        size -= (size_t)got;
    }
    return true;
}

bool worker_write(int to, const void *bytes, size_t size) {
    const char *at = bytes;
    while (size) {
        ssize_t put = write(to, at, size);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return false;
        at += put;
        size -= (size_t)put;
    }
    return true;
}
