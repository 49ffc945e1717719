// tests/unit/runtime/train.c -- a run from its command line to its weights: threads, resume,
// options, other programs' checkpoints, and the stepping that the REPL does.
#include "tests/unit/runtime/tiny.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runtime/run.h"

static const char *folder;

static const char *at(const char *name) {
    return tiny_path("%s/%s", folder, name);
}

static const char *train(const char *out, const char *more) {
    return tiny_path("--out %s/%s %s", folder, out, more);
}

static int make_data(void **state) {
    (void)state;
    folder = tiny_folder();
    tiny_write_data(at("data"));
    return 0;
}

static int remove_all(void **state) {
    (void)state;
    tiny_remove(folder);
    return 0;
}

/// The file's text with the folder's name as $ must be `expected`.
static void assert_text(const char *name, const char *expected) {
    size_t length = 0;
    char *text = tiny_read(at(name), &length);
    assert_non_null(text);
    for (char *found; (found = strstr(text, folder));) {
        *found = '$';
        memmove(found + 1, found + strlen(folder), strlen(found + strlen(folder)) + 1);
    }
    assert_string_equal(text, expected);
    free(text);
}

static void trains_and_writes(void **state) {
    (void)state;
    assert_int_equal(tiny_run(folder, NULL, train("a", "--epochs 8 --lr 0.02")), 0);
    size_t length = 0;
    char *csv = tiny_read(at("a/metrics.csv"), &length);
    assert_non_null(csv);
    assert_ptr_equal(strstr(csv, "phase,epoch,step,train_ce,train_top1,test_ce,test_top1,"
                                 "test_steps,train_ce_2,train_top1_2\nteach,0,7,"),
                     csv);
    double ce, top1;
    char *row = strstr(csv, "\nteach,7,56,");
    assert_non_null(row);
    assert_int_equal(sscanf(row, "\nteach,7,56,%*f,%*f,%lf,%lf", &ce, &top1), 2);
    assert_true(top1 > 0.95); // it learns
    free(csv);
    char *json = tiny_read(at("a/metrics.jsonl"), &length);
    assert_ptr_equal(strstr(json, "{\"event\":\"run\",\"program\":\"tiny\","), json);
    int lines = 0;
    for (size_t i = 0; i < length; i++)
        lines += json[i] == '\n';
    assert_int_equal(lines, 17);
    free(json);
    assert_int_equal(access(at("a/net.safetensors"), R_OK), 0);
}

static void threads_do_not_matter(void **state) {
    (void)state;
    assert_int_equal(tiny_run(folder, NULL, train("one", "--threads 1")), 0);
    assert_int_equal(tiny_run(folder, NULL, train("two", "--threads 2")), 0);
    assert_int_equal(tiny_run(folder, NULL, train("three", "--threads 3")), 0);
    int others, newest = tiny_newest(at("one"), &others);
    for (int i = 0; i < 2; i++) {
        const char *other = i ? "three" : "two";
        assert_true(
            tiny_same_file(tiny_path("%s/one/checkpoints/%06d.kdck", folder, newest),
                           tiny_path("%s/%s/checkpoints/%06d.kdck", folder, other, newest)));
        assert_true(
            tiny_same_file(at("one/metrics.csv"), tiny_path("%s/%s/metrics.csv", folder, other)));
    }
}

static void seeds_and_options_matter(void **state) {
    (void)state;
    assert_int_equal(tiny_run(folder, NULL, train("seed0", "")), 0);
    assert_int_equal(tiny_run(folder, NULL, train("seed1", "--seed 1")), 0);
    assert_int_equal(tiny_run(folder, NULL, train("lr", "--lr=0.2")), 0);
    assert_false(tiny_same_file(at("seed0/metrics.csv"), at("seed1/metrics.csv")));
    assert_false(tiny_same_file(at("seed0/metrics.csv"), at("lr/metrics.csv")));
}

static void phases_run_one_by_one(void **state) {
    (void)state;
    assert_int_equal(tiny_run(folder, NULL, train("whole", "")), 0);
    assert_int_equal(tiny_run(folder, NULL, train("parts", "--only teach")), 0);
    assert_int_equal(tiny_run(folder, NULL, train("parts", "--only polish --resume")), 0);
    assert_true(tiny_same_file(at("whole/metrics.csv"), at("parts/metrics.csv")));
    assert_true(tiny_same_file(at("whole/net.safetensors"), at("parts/net.safetensors")));
    // There is nothing left to do, and doing it changes nothing.
    assert_int_equal(tiny_run(folder, NULL, train("parts", "--resume")), 0);
    assert_true(tiny_same_file(at("whole/metrics.csv"), at("parts/metrics.csv")));
}

static void resume_keeps_the_options(void **state) {
    (void)state;
    assert_int_equal(tiny_run(folder, NULL, train("kept", "--lr 0.3 --seed 7")), 0);
    assert_int_equal(tiny_run(folder, "crash:60", train("again", "--lr 0.3 --seed 7")), 137);
    assert_int_equal(tiny_run(folder, NULL, train("again", "--resume")), 0);
    assert_true(tiny_same_file(at("kept/metrics.csv"), at("again/metrics.csv")));
}

static void nothing_trained_is_overwritten(void **state) {
    (void)state;
    assert_int_equal(tiny_run(folder, NULL, train("kept1", "--quiet")), 0);
    assert_int_equal(tiny_run(folder, NULL, train("kept1", "--quiet")), 1);
    assert_text("err", "train: $/kept1 holds the checkpoints of an earlier run: --resume goes on "
                       "with it, another --out leaves it alone\n");
}

static void another_programs_checkpoint(void **state) {
    (void)state;
    assert_int_equal(tiny_run(folder, NULL, train("mine", "")), 0);
    setenv("TINY_HASH", "fedcba9876543210", 1);
    assert_int_equal(tiny_run(folder, NULL, train("mine", "--resume")), 2);
    assert_text("err", "train: $/mine/checkpoints/000006.kdck: is a checkpoint of another program, "
                       "`tiny`; the storages are the same, but the computation was another\n");
    setenv("TINY_BIAS", "net.offset", 1);
    assert_int_equal(tiny_run(folder, NULL, train("mine", "--resume")), 2);
    assert_text("err",
                "train: $/mine/checkpoints/000006.kdck: is a checkpoint of another program, "
                "`tiny`; `net.offset` is missing there; `net.bias` is not in this program\n");
    unsetenv("TINY_HASH");
    unsetenv("TINY_BIAS");
}

static void a_damaged_checkpoint_falls_back(void **state) {
    (void)state;
    assert_int_equal(tiny_run(folder, NULL, train("damaged", "")), 0);
    int file = open(at("damaged/checkpoints/000006.kdck"), O_WRONLY);
    assert_int_equal(pwrite(file, "x", 1, 2000), 1);
    close(file);
    assert_int_equal(tiny_run(folder, NULL, train("damaged", "--resume")), 0);
    size_t length = 0;
    char *text = tiny_read(at("out"), &length);
    assert_non_null(strstr(text, "damaged; going on from the one before"));
    free(text);
    assert_int_equal(tiny_run(folder, NULL, train("intact", "")), 0);
    assert_true(tiny_same_file(at("intact/metrics.csv"), at("damaged/metrics.csv")));
}

static void options_are_checked(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"--epoch 3", "train: unknown option --epoch; did you mean --epochs?\n"},
        {"--frobnicate", "train: unknown option --frobnicate; --help lists them\n"},
        {"--lr fast", "train: --lr takes a number, not `fast`\n"},
        {"--lr nan", "train: --lr takes a number, not `nan`\n"},
        {"--epochs 1.5", "train: --epochs takes a whole number, not `1.5`\n"},
        {"--lr", "train: --lr needs a value\n"},
        {"--resume=1", "train: --resume takes no value\n"},
        {"--threads 0", "train: --threads takes a whole number from 1 on, not `0`\n"},
        {"--only tech", "train: no phase is called `tech`; there are teach, polish\n"},
        {"--load net=x", "train: --load takes MODEL=FILE, not `net=x`; the models with weights from "
                         "a file: none\n"},
        {"lr=3", "train: `lr=3` is no option; --help lists them\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(tiny_run(folder, NULL, cases[i][0]), 1);
        assert_text("err", cases[i][1]);
    }
}

static void help_lists_everything(void **state) {
    (void)state;
    assert_int_equal(tiny_run(folder, NULL, "--help"), 0);
    assert_text("out",
                "train: trains tiny\n"
                "\n"
                "usage: train [options]\n"
                "\n"
                "options of tiny:\n"
                "  --lr X               peak learning rate (default 0.1)\n"
                "  --epochs N           passes over the data (default 3)\n"
                "\n"
                "options of every program:\n"
                "  --data DIR           where the data is (NAME=DIR: of that data set)\n"
                "  --out DIR            where checkpoints, metrics and weights go (default "
                "runs/tiny)\n"
                "  --only PHASE         run this phase alone\n"
                "  --resume             go on from the newest checkpoint\n"
                "  --seed N             seed of all randomness (default 0)\n"
                "  --threads N          threads; the results do not depend on it (default: all "
                "cores)\n"
                "  --save-every N       a checkpoint every N batches, not only every epoch\n"
                "  --profile N          N batches of each phase and evaluation, and their times; "
                "nothing is kept\n"
                "  --quiet              say nothing but errors\n"
                "  --help               this text\n"
                "\n"
                "phases: teach polish\n");
}

static void one_run_at_a_time(void **state) {
    (void)state;
    pid_t first = tiny_start(folder, NULL, train("shared", "--epochs 100000"));
    int others;
    for (int wait = 0; wait < 500 && tiny_newest(at("shared"), &others) == 0; wait++)
        usleep(10000);
    assert_int_equal(tiny_run(folder, NULL, train("shared", "--resume")), 2);
    assert_text("err", "train: $/shared: another run is writing there\n");
    kill(first, SIGTERM);
    assert_int_equal(tiny_wait(first), 128 + SIGTERM);
}

static void a_closed_output_is_no_reason_to_stop(void **state) {
    (void)state;
    setenv("TINY_DATA", at("data"), 1);
    char command[1024], self[512] = {0};
    assert_true(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
    snprintf(command, sizeof command, "%s --train --out %s/closed >&- 2>/dev/full; test $? = 0",
             self, folder);
    assert_int_equal(system(command), 0);
}

// ---- in process ---------------------------------------------------------------------------------

static void steps_allocate_nothing(void **state) {
    (void)state;
    char *manifest = tiny_manifest(at("data"), "0123456789abcdef", "net.bias");
    KdrtProgram program = tiny_program(manifest);
    char *argv[] = {"train", "--threads", "2", "--epochs", "5", NULL};
    KdrtError error = {0};
    KdrtSession *session = kdrt_session_open(&program, 5, argv, &error);
    assert_non_null(session);
    KdrtReport report;
    assert_true(kdrt_session_step(session, 1, &report, &error));
    Env before = session->env;
    assert_true(kdrt_session_step(session, 15, &report, &error)); // two epochs, two evaluations
    assert_memory_equal(before.count, session->env.count, sizeof before.count);
    kdrt_session_close(session);
    free(manifest);
}

static void steps_and_main_in_one_process(void **state) {
    (void)state;
    char *manifest = tiny_manifest(at("data"), "0123456789abcdef", "net.bias");
    KdrtProgram program = tiny_program(manifest);
    char *argv[] = {"train", "--threads", "1", "--epochs", "2", NULL};
    float after[2][TINY_CLASSES * TINY_PIXELS];
    for (int round = 0; round < 2; round++) {
        KdrtError error = {0};
        KdrtSession *session = kdrt_session_open(&program, 5, argv, &error);
        assert_non_null(session);
        KdrtReport report;
        assert_true(kdrt_session_step(session, 3, &report, &error));
        assert_string_equal(report.phase, "teach");
        assert_int_equal(report.batch_count, 3);
        assert_int_equal(report.value_count, 2);
        assert_string_equal(report.name[0], "train_ce");
        assert_true(report.value[0] > 0.5 && report.value[0] < 5);
        assert_false(report.epoch_ended);

        // One at a time or many at once: the same training.
        if (round == 0)
            for (int i = 0; i < 4; i++)
                assert_true(kdrt_session_step(session, 1, &report, &error));
        else
            assert_true(kdrt_session_step(session, 4, &report, &error));
        assert_true(report.epoch_ended);
        assert_int_equal(report.value_count, 5);
        assert_string_equal(report.name[4], "test_steps");
        assert_true(report.value[4] == 7);
        assert_int_equal(report.epoch, 0);

        assert_true(kdrt_session_step(session, 100, &report, &error));
        assert_int_equal(report.batch_count, 7); // up to the end of the phase
        int64_t size_bytes;
        const void *weight = kdrt_session_storage(session, "net.weight", &size_bytes);
        assert_int_equal(size_bytes, sizeof after[round]);
        memcpy(after[round], weight, sizeof after[round]);

        assert_true(kdrt_session_step(session, 100, &report, &error));
        assert_string_equal(report.phase, "polish");
        assert_int_equal(report.batch_count, 14);
        assert_true(report.finished);
        assert_true(kdrt_session_step(session, 100, &report, &error));
        assert_int_equal(report.batch_count, 0);
        kdrt_session_close(session);
    }
    assert_memory_equal(after[0], after[1], sizeof after[0]);

    char out[1024];
    snprintf(out, sizeof out, "%s", at("inside"));
    char *more[] = {"train", "--quiet", "--only", "teach", "--epochs", "2", "--out", out, NULL};
    assert_int_equal(kdrt_main(&program, 8, more), 0);
    free(manifest);
    // What was trained by steps is what the binary trains: the weight is the file's end but for the
    // state, in the order of the names bias, count, weight.
    size_t length = 0;
    char *file = tiny_read(at("inside/net.safetensors"), &length);
    assert_non_null(file);
    assert_memory_equal(file + length - sizeof after[0], after[0], sizeof after[0]);
    free(file);
}

int main(int argc, char **argv) {
    int status;
    if (tiny_is_child(argc, argv, &status))
        return status;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trains_and_writes),
        cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(seeds_and_options_matter),
        cmocka_unit_test(phases_run_one_by_one),
        cmocka_unit_test(resume_keeps_the_options),
        cmocka_unit_test(nothing_trained_is_overwritten),
        cmocka_unit_test(another_programs_checkpoint),
        cmocka_unit_test(a_damaged_checkpoint_falls_back),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(help_lists_everything),
        cmocka_unit_test(one_run_at_a_time),
        cmocka_unit_test(a_closed_output_is_no_reason_to_stop),
        cmocka_unit_test(steps_allocate_nothing),
        cmocka_unit_test(steps_and_main_in_one_process),
    };
    return cmocka_run_group_tests(tests, make_data, remove_all);
}
