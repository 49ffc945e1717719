// tests/unit/runtime/crash.c -- what a run leaves when it is killed, stopped, or cannot write.
//
// The oracle is one: after any crash the run, resumed to its end, leaves the files of a run that
// was never interrupted, byte for byte.
#include "tests/unit/runtime/tiny.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const char *folder; // data/, out/ ... of this process
static int reference_newest;

static const char *at(const char *name) {
    return tiny_path("%s/%s", folder, name);
}

static const char *train(const char *out, const char *more) {
    return tiny_path("--quiet --threads 1 --epochs 2 --out %s/%s %s", folder, out, more);
}

static int make_reference(void **state) {
    (void)state;
    folder = tiny_folder();
    int others;
    tiny_write_data(at("data"));
    if (tiny_run(folder, NULL, train("reference", "")))
        return -1;
    reference_newest = tiny_newest(at("reference"), &others);
    return reference_newest > 0 && others == 0 ? 0 : -1;
}

static int remove_all(void **state) {
    (void)state;
    tiny_remove(folder);
    return 0;
}

/// OUT holds what the reference run holds: the last checkpoint (its number apart), metrics,
/// weights.
static void assert_complete(const char *out, const char *when) {
    static const char *const files[] = {"metrics.csv", "metrics.jsonl", "net.safetensors"};
    int others;
    int newest = tiny_newest(at(out), &others);
    if (others)
        fail_msg("%s: %d files that are no checkpoints", when, others);
    if (!tiny_same_file(tiny_path("%s/%s/checkpoints/%06d.kdck", folder, out, newest),
                        tiny_path("%s/reference/checkpoints/%06d.kdck", folder, reference_newest)))
        fail_msg("%s: the last checkpoint differs", when);
    for (size_t i = 0; i < 3; i++)
        if (!tiny_same_file(tiny_path("%s/%s/%s", folder, out, files[i]),
                            tiny_path("%s/reference/%s", folder, files[i])))
            fail_msg("%s: %s differs", when, files[i]);
}

static void killed_at_every_durable_operation(void **state) {
    (void)state;
    static const char *const forms[] = {"crash:%d", "crash+:%d"};
    int points = 0;
    for (int n = 1;; n++) {
        char *fault = tiny_path(forms[n % 2], n);
        int status = tiny_run(folder, fault, train("crash", ""));
        if (status == 0)
            break; // fewer operations than n
        points++;
        assert_int_equal(status, 128 + SIGKILL);
        assert_int_equal(tiny_run(folder, NULL, train("crash", "--resume")), 0);
        assert_complete("crash", fault);
        tiny_remove(at("crash"));
    }
    tiny_remove(at("crash"));
    print_message("%d points\n", points);
    assert_true(points > 50);
}

static void killed_at_random_moments_and_twice(void **state) {
    (void)state;
    unsigned draw = 20;
    for (int round = 0; round < 10; round++) {
        const char *resume = "";
        for (int kill_count = 0; kill_count < 2; kill_count++) {
            pid_t child = tiny_start(folder, NULL, train("random", resume));
            draw = draw * 1103515245u + 12345u;
            usleep(draw >> 16 & 0x1fff);
            kill(child, SIGKILL);
            tiny_wait(child);
            resume = "--resume";
        }
        assert_int_equal(tiny_run(folder, NULL, train("random", resume)), 0);
        assert_complete("random", tiny_path("round %d", round));
        tiny_remove(at("random"));
    }
}

static void resumes_inside_an_epoch(void **state) {
    (void)state;
    // --save-every changes neither results nor rows, only how many files there were.
    for (int n = 40; n < 400; n += 37) {
        char *fault = tiny_path("crash:%d", n);
        int status = tiny_run(folder, fault, train("inside", "--save-every 2"));
        assert_true(status == 0 || status == 128 + SIGKILL);
        assert_int_equal(tiny_run(folder, NULL, train("inside", "--save-every 3 --resume")), 0);
        assert_complete("inside", fault);
        tiny_remove(at("inside"));
    }
}

static void a_signal_saves_and_leaves(void **state) {
    (void)state;
    static const int signals[] = {SIGINT, SIGTERM};
    for (int i = 0; i < 2; i++) {
        // Long enough to be running when the signal comes.
        pid_t child = tiny_start(folder, NULL, train("signal", "--epochs 100000"));
        int others;
        for (int wait = 0; wait < 500 && tiny_newest(at("signal"), &others) == 0; wait++)
            usleep(10000);
        kill(child, signals[i]);
        assert_int_equal(tiny_wait(child), 128 + signals[i]);
        assert_int_equal(tiny_run(folder, NULL, train("signal", "--only teach --resume")), 0);
        tiny_remove(at("signal"));
    }
}

static void assert_error(const char *expected) {
    size_t length = 0;
    char *text = tiny_read(at("err"), &length);
    char *folder_free = malloc(length + 1), *to = folder_free; // $ stands for the folder
    for (const char *from = text; *from;) {
        if (!strncmp(from, folder, strlen(folder))) {
            *to++ = '$';
            from += strlen(folder);
        } else {
            *to++ = *from++;
        }
    }
    *to = '\0';
    assert_string_equal(folder_free, expected);
    free(folder_free);
    free(text);
}

static void a_full_disk_leaves_the_old_checkpoint(void **state) {
    (void)state;
    int others;
    assert_int_equal(tiny_run(folder, "write:46+:ENOSPC", train("full", "")), 2);
    assert_error("train: $/full/checkpoints/000004.kdck.tmp: cannot be written: No space left on "
                 "device\n");
    assert_int_equal(tiny_newest(at("full"), &others), 3);
    assert_int_equal(others, 0); // the temporary file is gone
    assert_int_equal(tiny_run(folder, NULL, train("full", "--resume")), 0);
    assert_complete("full", "ENOSPC");
    tiny_remove(at("full"));
}

static void every_failing_operation_is_reported(void **state) {
    (void)state;
    static const struct {
        const char *fault;
        int status;
        const char *message;
    } cases[] = {
        {"mkdir:1:EROFS", 2, "train: $/io: cannot be made: Read-only file system\n"},
        {"create:1:EMFILE", 2,
         "train: $/io/metrics.jsonl: cannot be opened: Too many open files\n"},
        {"create:3:EDQUOT", 2,
         "train: $/io/checkpoints/000001.kdck.tmp: cannot be made: Disk quota exceeded\n"},
        {"write:2:EIO", 2, "train: $/io/metrics.csv: cannot be written: Input/output error\n"},
        {"sync:7:EIO", 2,
         "train: $/io/checkpoints/000001.kdck.tmp: cannot be synced: Input/output error\n"},
        {"rename:1:EACCES", 2,
         "train: $/io/checkpoints/000001.kdck: cannot be renamed to: Permission denied\n"},
        {"unlink:1:EIO", 2,
         "train: $/io/checkpoints/000001.kdck: cannot be removed: Input/output error\n"},
        {"read:1:EIO", 2,
         "train: $/data/train-images-idx3-ubyte: cannot be read: Input/output error\n"},
        {"write:4:EINTR", 0, ""},
        {"write:5:short", 0, ""},
        {"nonsense", 1,
         "train: KDC_FAULT=nonsense is not understood (crash:N, crash+:N, OP:K:ERROR, "
         "OP:K+:ERROR)\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(tiny_run(folder, cases[i].fault, train("io", "")), cases[i].status);
        assert_error(cases[i].message);
        if (cases[i].status == 0)
            assert_complete("io", cases[i].fault);
        assert_int_equal(tiny_run(folder, NULL, train("io", "--resume")), 0);
        assert_complete("io", cases[i].fault);
        tiny_remove(at("io"));
    }
}

static void every_failing_allocation_is_reported(void **state) {
    (void)state;
    int failed = 0;
    for (int n = 1;; n++) {
        int status = tiny_run(folder, tiny_path("malloc:%d:ENOMEM", n), train("memory", ""));
        if (status == 0)
            break;
        failed++;
        if (status != 2)
            fail_msg("allocation %d: status %d", n, status);
        tiny_remove(at("memory"));
    }
    tiny_remove(at("memory"));
    assert_true(failed > 20);
}

int main(int argc, char **argv) {
    int status;
    if (tiny_is_child(argc, argv, &status))
        return status;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_at_every_durable_operation),
        cmocka_unit_test(killed_at_random_moments_and_twice),
        cmocka_unit_test(resumes_inside_an_epoch),
        cmocka_unit_test(a_signal_saves_and_leaves),
        cmocka_unit_test(a_full_disk_leaves_the_old_checkpoint),
        cmocka_unit_test(every_failing_operation_is_reported),
        cmocka_unit_test(every_failing_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, make_reference, remove_all);
}
