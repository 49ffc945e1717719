// Types, attributes, and changes of whole graphs.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "ir/eval.h"

static const Type vector = {.dtype = DT_F32, .rank = 1, .dim = {3}};

static void types_count_compare_and_print(void **state) {
    (void)state;
    Arena arena = {0};
    Type scalar = {.dtype = DT_BOOL};
    Type plain = {.dtype = DT_F32, .rank = 4, .dim = {2, 16, 3, 5}};
    Type blocked = plain;
    DType dtype;
    blocked.block = 16;
    blocked.block_axis = 1;
    assert_int_equal(type_count(&scalar), 1);
    assert_int_equal(type_count(&plain), 480);
    assert_true(type_same_shape(&plain, &blocked));
    assert_false(type_equal(&plain, &blocked));
    assert_string_equal(type_text(&arena, &scalar), "bool[]");
    assert_string_equal(type_text(&arena, &blocked), "f32[2, 16, 3, 5]{1:16}");
    assert_true(dtype_from_name("f64", &dtype) && dtype == DT_F64);
    assert_false(dtype_from_name("f16", &dtype));
    arena_release(&arena);
}

static void only_carried_attributes_count(void **state) {
    (void)state;
    Arena arena = {0};
    int64_t axes[] = {0, 1};
    Attrs a = {.axes = {2, axes}, .keep = true, .name = "unused"};
    Attrs *copy = attrs_copy(&arena, OP_sum, &a);
    assert_true(copy->axes.at != axes && copy->axes.count == 2 && !copy->name);
    assert_true(attrs_equal(OP_sum, &a, copy));
    assert_true(attrs_hash(OP_sum, &a) == attrs_hash(OP_sum, copy));
    copy->keep = false;
    assert_false(attrs_equal(OP_sum, &a, copy));
    assert_true(attrs_equal(OP_neg, &a, copy));
    // 0 and -0 are different constants, a NaN is equal to itself.
    Attrs zero = {.value = 0.0}, minus = {.value = -0.0};
    assert_false(attrs_equal(OP_const, &zero, &minus));
    arena_release(&arena);
}

static void op_table_is_sound(void **state) {
    (void)state;
    for (int i = 0; i < OP_COUNT; i++) {
        const OpInfo *info = &op_info[i];
        Op op;
        assert_true(op_from_name(info->name, &op) && op == (Op)i);
        assert_int_equal(op_has(op, LEAF), info->arity == 0);
        assert_true(info->arity <= 3 && *info->summary);
        if (op_has(op, COMMUTES))
            assert_int_equal(info->arity, 2);
    }
}

// a, b = neg a, c = exp b, d = b + c, output d
static Graph *small_graph(Arena *arena, Node *node[5]) {
    Module *module = module_new(arena, "m", DT_F32);
    Graph *graph = module_add_graph(module, "g", GRAPH_STEP, 2);
    node[0] = ir_input(graph, "a", &vector);
    node[1] = ir_unary(graph, OP_neg, node[0]);
    node[2] = ir_unary(graph, OP_exp, node[1]);
    node[3] = ir_binary(graph, OP_add, node[1], node[2]);
    node[4] = ir_output(graph, "y", node[3]);
    return graph;
}

static const char *print(Arena *arena, const Graph *graph) {
    StrBuf out = {.arena = arena};
    graph_print(&out, graph, NULL);
    return strbuf_text(&out);
}

static void kept_nodes_are_renumbered(void **state) {
    (void)state;
    Arena arena = {0};
    Node *node[5];
    Graph *graph = small_graph(&arena, node);
    assert_false(graph_keep_only(graph, (uint8_t[]){1, 1, 1, 1, 1}));
    node[3]->operand[1] = node[1]; // nothing needs exp now
    Kernel kernel = {0, (Node *[]){node[1], node[2], node[3]}, 3, (Node *[]){node[2], node[3]}, 2};
    vec_push(&arena, &graph->kernels, &kernel);
    graph->buffer = arena_array(&arena, Buffer, 5);
    graph->buffer[3] = (Buffer){SPACE_STEP, 0, 64, 12};
    graph->step_bytes = 128;
    assert_true(graph_keep_only(graph, (uint8_t[]){1, 1, 0, 1, 1}));
    assert_int_equal(graph->nodes.count, 4);
    assert_int_equal(node[4]->id, 3);
    assert_int_equal(kernel.node_count, 2);
    assert_int_equal(kernel.stored_count, 1);
    assert_int_equal(graph->buffer[2].offset_bytes, 64);
    assert_null(graph_verify(graph, &arena));
    arena_release(&arena);
}

static void replacements_are_followed(void **state) {
    (void)state;
    Arena arena = {0};
    Node *node[5];
    Graph *graph = small_graph(&arena, node);
    Node *replacement[5] = {[2] = node[1], [1] = node[0], [0] = node[0]};
    graph_replace(graph, replacement);
    assert_ptr_equal(node[3]->operand[0], node[0]);
    assert_ptr_equal(node[3]->operand[1], node[0]);
    assert_null(graph_verify(graph, &arena));
    Node *order[] = {node[0], node[3], node[4]};
    graph_set_nodes(graph, order, 3);
    assert_int_equal(node[4]->id, 2);
    assert_null(graph_verify(graph, &arena));
    arena_release(&arena);
}

static void a_clone_shares_no_nodes(void **state) {
    (void)state;
    Arena arena = {0};
    Node *node[5];
    Graph *graph = small_graph(&arena, node);
    Kernel kernel = {0, (Node *[]){node[1], node[2], node[3]}, 3, (Node *[]){node[3]}, 1};
    vec_push(&arena, &graph->kernels, &kernel);
    graph->buffer = arena_array(&arena, Buffer, 5);
    Graph *clone = graph_clone(graph, "g");
    const char *text = print(&arena, graph);
    assert_string_equal(print(&arena, clone), text);
    assert_null(graph_verify(clone, &arena));
    graph_keep_only(clone, (uint8_t[]){1, 0, 0, 0, 0});
    assert_string_equal(print(&arena, graph), text);
    arena_release(&arena);
}

static void broken_graphs_are_found(void **state) {
    (void)state;
    Arena arena = {0};
    Node *node[5];
    Graph *graph = small_graph(&arena, node);
    node[1]->operand[0] = node[2];
    assert_string_equal(graph_verify(graph, &arena),
                        "graph `g`: %1 = neg: an operand is not among the nodes before it");
    node[1]->operand[0] = node[0];
    node[2]->type.dim[0] = 4;
    assert_string_equal(graph_verify(graph, &arena),
                        "graph `g`: %2 = exp: has type f32[4], should be f32[3]");
    node[2]->type.dim[0] = 3;
    node[2]->id = 7;
    assert_string_equal(graph_verify(graph, &arena), "graph `g`: node 2 has the id 7");
    arena_release(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_count_compare_and_print),
        cmocka_unit_test(only_carried_attributes_count),
        cmocka_unit_test(op_table_is_sound),
        cmocka_unit_test(kept_nodes_are_renumbered),
        cmocka_unit_test(replacements_are_followed),
        cmocka_unit_test(a_clone_shares_no_nodes),
        cmocka_unit_test(broken_graphs_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
