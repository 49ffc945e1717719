/* grammar/kd.y -- tokens to tree.

   Statements of all blocks are one rule; what may stand where is checked afterwards, by a table
   (frontend/placement.c). No statement is an expression, which is why the words that begin statements
   can be names everywhere else (rule `name`), and why `word values` can be a setting.

   The layout filter hands out brackets that match and line ends that count, none twice in a row and
   none behind `{` or before `}`. An error therefore ends at the closing bracket around it or at the
   end of its statement; a block that follows in the statement is still read. Mistakes of meaning that
   the grammar can see (a chain of comparisons, an `if` without `else` as a value) are actions. */

%code requires {
#include "grammar/parse.h"
}

%define api.pure full
%define api.prefix {kd_yy}
%define api.token.prefix {TOK_}
%define api.location.type {Span}
%define parse.error custom
%define parse.lac full
%expect 0
%locations
%param {KdParse *parse}

%code {
#include <math.h>
#include <string.h>

#define YYLLOC_DEFAULT(Current, Rhs, N)                                                            \
    ((Current) = (N) ? kd_span(parse, YYRHSLOC(Rhs, 1).begin, YYRHSLOC(Rhs, N).end)                \
                     : kd_span(parse, YYRHSLOC(Rhs, 0).end, YYRHSLOC(Rhs, 0).end))
/* Brackets are bounded by AST_NESTING_MAX; this bounds signs and powers. */
#define YYMAXDEPTH 20000

static int yylex(YYSTYPE *value, Span *span, KdParse *parse);
static void yyerror(const Span *span, KdParse *parse, const char *message);

static AstName name_of(const char *text, Span span);
static AstExpr *shallow(KdParse *parse, AstExpr *expr);
static AstExpr *binary(KdParse *parse, Span span, AstBinaryOp op, Span op_span, AstExpr *left,
                       AstExpr *right);
static AstExpr *comparison(KdParse *parse, Span span, AstBinaryOp op, Span op_span, AstExpr *left,
                           AstExpr *right);
static AstExpr *range(KdParse *parse, Span span, AstExpr *low, AstExpr *high);
static AstExpr *string(KdParse *parse, Span span, PartList *parts);
static void add_text(KdParse *parse, PartList *parts, const char *text);
static AstExpr *tuple(KdParse *parse, Span span, ArgList *args);
static AstExpr *named_call(KdParse *parse, Span span, AstExpr *call, AstExpr *name);
static AstExpr *path_string(KdParse *parse, AstExpr *path);
static AstExpr *choice(KdParse *parse, Span span, ChoiceList *branches, AstExpr *otherwise);
static AstBlock *block_of(KdParse *parse, Span span, StmtList *stmts);
static AstBranch branch(AstExpr *condition, AstBlock *body);
static AstStmt *function(KdParse *parse, AstStmtKind kind, Span span, AstName name,
                         ParamList *params, AstExpr *value, AstBlock *body);
static AstStmt *update(KdParse *parse, Span span, AstExpr *target, AstExpr *value);
static AstStmt *stmt(KdParse *parse, AstStmtKind kind, Span span);
static const char *plain_text(KdParse *parse, AstExpr *string, const char *what);

/* Lists of the grammar live in the arena, as their items do. */
#define LIST_NEW(Type, list) ((list) = arena_new(parse->arena, Type))
#define LIST_ADD(list, ...) vec_push(parse->arena, (list), __VA_ARGS__)
}

%union {
    const char *text;
    AstName name;
    AstExpr *expr;
    AstStmt *stmt;
    AstBlock *block;
    AstType *type;
    AstArg arg;
    AstParam param;
    AstBinaryOp op;
    AstForClause clause;
    NameList *names;
    ExprList *exprs;
    ArgList *args;
    ParamList *params;
    StmtList *stmts;
    PartList *parts;
    ForClauseList *clauses;
    ChoiceList *choices;
    BranchList *branches;
    AstReportItem item;
    ReportItemList *items;
}

%token END 0 "end of file"
%token LINE_END "end of line"
%token START_FILE "a program" START_INPUT "an input"

/* Words that begin statements, in this order in kd.l and layout.c: declarations up to DEPLOY. */
%token <text> USE "`use`" PARAM "`param`" OPTION "`option`" NET "`net`" OPTIMIZER "`optimizer`"
              MODEL "`model`" SPLIT "`split`" DATA "`data`" TRAIN "`train`" DEPLOY "`deploy`"
              PHASE "`phase`" STEP "`step`" EVAL "`eval`" FINISH "`finish`" OPTIMIZE "`optimize`"
              FREEZE "`freeze`" LOAD "`load`" TAP "`tap`" MINIMIZE "`minimize`" REPORT "`report`"
              EXIT "`exit`" ASSERT "`assert`"

/* Reserved words. */
%token LET "`let`" RETURN "`return`" FN "`fn`" IF "`if`" ELSE "`else`" FOR "`for`" IN "`in`"
       WHEN "`when`" AND "`and`" OR "`or`" NOT "`not`" TRUE "`true`" FALSE "`false`" AS "`as`"
       AT "`at`" ON "`on`" WITH "`with`" OVER "`over`" COMBINE "`combine`" FROM "`from`"

%token <text> NAME "a name" SEGMENT "`.name`" NUMBER "a number" TEXT "text"
%token QUOTE_OPEN "a string" QUOTE_CLOSE "end of the string"
%token INTERP_OPEN "`{` in a string" INTERP_CLOSE "`}` in a string"
%token LPAREN "`(`" RPAREN "`)`" LBRACKET "`[`" RBRACKET "`]`" LBRACE "`{`" RBRACE "`}`"
%token COMMA "`,`" COLON "`:`" ASSIGN "`=`" UPDATE "`<-`" PIPE "`|>`" RANGE "`..`" ELLIPSIS "`...`"
%token EQUAL "`==`" NOT_EQUAL "`!=`" LESS "`<`" LESS_EQUAL "`<=`" GREATER "`>`" GREATER_EQUAL "`>=`"
%token PLUS "`+`" MINUS "`-`" TIMES "`*`" DIVIDE "`/`" FLOOR_DIVIDE "`//`" MODULO "`%`" POWER "`^`"
%token POISON "what was reported"

%type <name> name
%type <names> names
%type <expr> expr pipe stage or and not compare range sum product unary power named postfix primary
             string path as_path index from on over combine
%type <op> compare_op sum_op product_op
%type <parts> parts
%type <exprs> exprs dims dim_list
%type <arg> arg value
%type <args> args two_args call_args values
%type <param> param
%type <params> params param_list
%type <type> type
%type <clause> for_clause
%type <clauses> for_clauses
%type <choices> if_branches
%type <branches> if_chain when_chain
%type <item> report_item
%type <items> report_items
%type <block> block maybe_block
%type <stmt> stmt declaration common only_in_blocks input_stmt
%type <stmts> body lines input input_lines
%type <expr> report_name dim

%%

start:
  START_FILE body                { parse->result = $2; }
| START_INPUT input              { parse->result = $2; }
;

/* ---- blocks ---- */

body:
  lines
| lines stmt                     { LIST_ADD($1, $2); $$ = $1; }
| lines error                    { LIST_ADD($1, stmt(parse, STMT_ERROR, @2)); $$ = $1; }
| lines error bad_block          { LIST_ADD($1, stmt(parse, STMT_ERROR, @2)); $$ = $1; }
;

lines:
  %empty                         { LIST_NEW(StmtList, $$); }
| lines stmt LINE_END            { LIST_ADD($1, $2); $$ = $1; }
| lines error LINE_END           { LIST_ADD($1, stmt(parse, STMT_ERROR, @2)); $$ = $1; yyerrok; }
| lines error bad_block LINE_END { LIST_ADD($1, stmt(parse, STMT_ERROR, @2)); $$ = $1; yyerrok; }
;

/* Of a statement that could not be read; if it is on one line, probably a value in braces. */
bad_block:
  { yyerrok; kd_quiet_line(parse, parse->given.span.begin); } block
;

block:
  LBRACE body RBRACE             { $$ = block_of(parse, @$, $2); yyerrok; }
;

maybe_block:
  %empty                         { $$ = NULL; }
| block
;

/* ---- statements ---- */

stmt:
  declaration
| common
| only_in_blocks
;

/* At the prompt there are no settings: there `name (…)` is a call. */
input:
  input_lines
| input_lines input_stmt         { LIST_ADD($1, $2); $$ = $1; }
| input_lines error              { LIST_ADD($1, stmt(parse, STMT_ERROR, @2)); $$ = $1; }
;

input_lines:
  %empty                         { LIST_NEW(StmtList, $$); }
| input_lines input_stmt LINE_END { LIST_ADD($1, $2); $$ = $1; }
| input_lines error LINE_END     { LIST_ADD($1, stmt(parse, STMT_ERROR, @2)); $$ = $1; yyerrok; }
;

input_stmt:
  declaration
| common
| expr                           { $$ = stmt(parse, STMT_EXPR, @$); $$->value = $1; }
| expr UPDATE expr               { $$ = update(parse, @$, $1, $3); }
;

declaration:
  USE string {
    $$ = stmt(parse, STMT_USE, @$);
    $$->use.module = name_of(plain_text(parse, $2, "a file's name"), @2);
    $$->use.is_file = true;
  }
| USE as_path {
    $$ = stmt(parse, STMT_USE, @$);
    const char *text = ast_path_text(parse->arena, $2);
    $$->use.module = name_of(text ? text : "?", @2);
  }
| PARAM name ASSIGN expr {
    $$ = stmt(parse, STMT_PARAM, @$);
    $$->define.name = $2;
    $$->define.value = $4;
  }
| OPTION name ASSIGN expr {
    $$ = stmt(parse, STMT_OPTION, @$);
    $$->define.name = $2;
    $$->define.value = $4;
  }
| OPTION name ASSIGN expr string {
    $$ = stmt(parse, STMT_OPTION, @$);
    $$->define.name = $2;
    $$->define.value = $4;
    $$->define.text = plain_text(parse, $5, "an option's text");
  }
| FN name params ASSIGN expr     { $$ = function(parse, STMT_FN, @$, $2, $3, $5, NULL); }
| FN name params block           { $$ = function(parse, STMT_FN, @$, $2, $3, NULL, $4); }
| NET name params block          { $$ = function(parse, STMT_NET, @$, $2, $3, NULL, $4); }
| OPTIMIZER name params block    { $$ = function(parse, STMT_OPTIMIZER, @$, $2, $3, NULL, $4); }
| MODEL name ASSIGN expr from {
    $$ = stmt(parse, STMT_MODEL, @$);
    $$->model.name = $2;
    $$->model.value = $4;
    $$->model.origin = $5;
  }
| SPLIT path AT exprs {
    $$ = stmt(parse, STMT_SPLIT, @$);
    $$->split.model = $2;
    $$->split.taps = $4->at;
    $$->split.count = $4->count;
  }
| SPLIT AT exprs {
    $$ = stmt(parse, STMT_SPLIT, @$);
    $$->split.taps = $3->at;
    $$->split.count = $3->count;
  }
| DATA name ASSIGN expr maybe_block {
    $$ = stmt(parse, STMT_DATA, @$);
    $$->data.name = $2;
    $$->data.value = $4;
    $$->data.body = $5;
  }
| TRAIN name ON expr block {
    $$ = stmt(parse, STMT_TRAIN, @$);
    $$->train.name = $2;
    $$->train.data = $4;
    $$->train.body = $5;
  }
| DEPLOY path {
    $$ = stmt(parse, STMT_DEPLOY, @$);
    $$->deploy.model = $2;
  }
| DEPLOY name params block {
    $$ = stmt(parse, STMT_DEPLOY, @$);
    $$->deploy.name = $2;
    $$->deploy.params = $3->at;
    $$->deploy.param_count = $3->count;
    $$->deploy.body = $4;
  }
;

common:
  LET names ASSIGN expr {
    $$ = stmt(parse, STMT_LET, @$);
    $$->let.names = $2->at;
    $$->let.count = $2->count;
    $$->let.value = $4;
  }
| name ASSIGN expr {
    $$ = stmt(parse, STMT_ASSIGN, @$);
    $$->assign.target = ast_name(parse->arena, $1);
    $$->assign.value = $3;
  }
| FOR names IN expr block {
    $$ = stmt(parse, STMT_FOR, @$);
    $$->loop.names = $2->at;
    $$->loop.count = $2->count;
    $$->loop.list = $4;
    $$->loop.body = *$5;
  }
;

only_in_blocks:
  NAME values maybe_block {
    $$ = stmt(parse, STMT_SETTING, @$);
    $$->setting.word = name_of($1, @1);
    $$->setting.values = $2->at;
    $$->setting.count = $2->count;
    $$->setting.body = $3;
  }
| NAME maybe_block {
    $$ = stmt(parse, STMT_SETTING, @$);
    $$->setting.word = name_of($1, @1);
    $$->setting.body = $2;
  }
| as_path UPDATE expr {
    $$ = stmt(parse, STMT_UPDATE, @$);
    $$->assign.target = $1;
    $$->assign.value = $3;
  }
| PHASE name on block {
    $$ = stmt(parse, STMT_PHASE, @$);
    $$->phase.name = $2;
    $$->phase.data = $3;
    $$->phase.body = $4;
  }
| PHASE name LBRACKET expr RBRACKET on block {
    $$ = stmt(parse, STMT_PHASE, @$);
    $$->phase.name = $2;
    $$->phase.index = $4;
    $$->phase.data = $6;
    $$->phase.body = $7;
  }
| STEP params block {
    $$ = stmt(parse, STMT_STEP, @$);
    $$->step.params = $2->at;
    $$->step.param_count = $2->count;
    $$->step.body = $3;
  }
| EVAL params on block {
    $$ = stmt(parse, STMT_EVAL, @$);
    $$->step.params = $2->at;
    $$->step.param_count = $2->count;
    $$->step.data = $3;
    $$->step.body = $4;
  }
| FINISH block {
    $$ = stmt(parse, STMT_FINISH, @$);
    $$->block = $2;
  }
| OPTIMIZE exprs WITH expr maybe_block {
    $$ = stmt(parse, STMT_OPTIMIZE, @$);
    $$->optimize.targets = $2->at;
    $$->optimize.count = $2->count;
    $$->optimize.rule = $4;
    $$->optimize.body = $5;
  }
| FREEZE exprs {
    $$ = stmt(parse, STMT_FREEZE, @$);
    $$->freeze.targets = $2->at;
    $$->freeze.count = $2->count;
  }
| FREEZE exprs WITH expr {
    $$ = stmt(parse, STMT_FREEZE, @$);
    $$->freeze.targets = $2->at;
    $$->freeze.count = $2->count;
    $$->freeze.mode = $4;
  }
| LOAD expr FROM expr {
    $$ = stmt(parse, STMT_LOAD, @$);
    $$->load.target = $2;
    $$->load.origin = $4;
  }
| TAP as_path ASSIGN expr {
    $$ = stmt(parse, STMT_TAP, @$);
    $$->tap.name = path_string(parse, $2);
    $$->tap.value = $4;
  }
| TAP string ASSIGN expr {
    $$ = stmt(parse, STMT_TAP, @$);
    $$->tap.name = $2;
    $$->tap.value = $4;
  }
| RETURN expr {
    $$ = stmt(parse, STMT_RETURN, @$);
    $$->value = $2;
  }
| if_chain {
    $$ = stmt(parse, STMT_IF, @$);
    $$->branch.branches = $1->at;
    $$->branch.count = $1->count;
  }
| if_chain ELSE block {
    LIST_ADD($1, branch(NULL, $3));
    $$ = stmt(parse, STMT_IF, @$);
    $$->branch.branches = $1->at;
    $$->branch.count = $1->count;
  }
| when_chain {
    $$ = stmt(parse, STMT_WHEN, @$);
    $$->branch.branches = $1->at;
    $$->branch.count = $1->count;
  }
| when_chain ELSE block {
    LIST_ADD($1, branch(NULL, $3));
    $$ = stmt(parse, STMT_WHEN, @$);
    $$->branch.branches = $1->at;
    $$->branch.count = $1->count;
  }
| MINIMIZE expr over combine {
    $$ = stmt(parse, STMT_MINIMIZE, @$);
    $$->minimize.loss = $2;
    if ($3) {
        $$->minimize.over = $3->list.items;
        $$->minimize.over_count = $3->list.count;
    }
    $$->minimize.combine = $4;
  }
| REPORT report_items {
    $$ = stmt(parse, STMT_REPORT, @$);
    $$->report.items = $2->at;
    $$->report.count = $2->count;
  }
| EXIT expr WHEN expr {
    $$ = stmt(parse, STMT_EXIT, @$);
    $$->exit_when.value = $2;
    $$->exit_when.condition = $4;
  }
| ASSERT expr {
    $$ = stmt(parse, STMT_ASSERT, @$);
    $$->assertion.condition = $2;
  }
| ASSERT expr COMMA string {
    $$ = stmt(parse, STMT_ASSERT, @$);
    $$->assertion.condition = $2;
    $$->assertion.message = $4;
  }
;

if_chain:
  IF expr block                  { LIST_NEW(BranchList, $$); LIST_ADD($$, branch($2, $3)); }
| if_chain ELSE IF expr block    { LIST_ADD($1, branch($4, $5)); $$ = $1; }
;

when_chain:
  WHEN expr block                { LIST_NEW(BranchList, $$); LIST_ADD($$, branch($2, $3)); }
| when_chain ELSE WHEN expr block { LIST_ADD($1, branch($4, $5)); $$ = $1; }
;

from:
  %empty                         { $$ = NULL; }
| FROM expr                      { $$ = $2; }
;

on:
  %empty                         { $$ = NULL; }
| ON expr                        { $$ = $2; }
;

over:
  %empty                         { $$ = NULL; }
| OVER exprs                     { $$ = ast_list(parse->arena, @$, $2->at, $2->count); }
;

combine:
  %empty                         { $$ = NULL; }
| COMBINE expr                   { $$ = $2; }
;

report_items:
  report_item                    { LIST_NEW(ReportItemList, $$); LIST_ADD($$, $1); }
| report_items COMMA report_item { LIST_ADD($1, $3); $$ = $1; }
;

report_item:
  expr                           { $$ = (AstReportItem){NULL, $1}; }
| report_name ASSIGN expr        { $$ = (AstReportItem){$1, $3}; }
;

report_name:
  name                           { $$ = ast_string(parse->arena, @1, $1.text); }
| string
;

/* The values of a setting; the first decides that this is one. */
values:
  value                          { LIST_NEW(ArgList, $$); LIST_ADD($$, $1); }
| values COMMA value             { LIST_ADD($1, $3); $$ = $1; }
;

value:
  arg
| name COLON type                { $$ = (AstArg){.span = @$, .name = $1, .type = $3}; }
| name COLON type ASSIGN expr    { $$ = (AstArg){.span = @$, .name = $1, .type = $3, .value = $5}; }
;

/* ---- parameters and types ---- */

params:
  LPAREN RPAREN                  { LIST_NEW(ParamList, $$); }
| LPAREN param_list maybe_comma RPAREN { $$ = $2; }
| LPAREN error RPAREN            { LIST_NEW(ParamList, $$); yyerrok; }
;

param_list:
  param                          { LIST_NEW(ParamList, $$); LIST_ADD($$, $1); }
| param_list COMMA param         { LIST_ADD($1, $3); $$ = $1; }
;

param:
  name                           { $$ = (AstParam){.name = $1}; }
| name COLON type                { $$ = (AstParam){.name = $1, .type = $3}; }
| name ASSIGN expr               { $$ = (AstParam){.name = $1, .default_value = $3}; }
| name COLON type ASSIGN expr    { $$ = (AstParam){.name = $1, .type = $3, .default_value = $5}; }
;

type:
  name                           { $$ = arena_new(parse->arena, AstType);
                                   *$$ = (AstType){.span = @$, .dtype = $1}; }
| name LBRACKET dims RBRACKET    { $$ = arena_new(parse->arena, AstType);
                                   *$$ = (AstType){@$, $1, true, $3->at, $3->count}; }
| LBRACKET dims RBRACKET         { $$ = arena_new(parse->arena, AstType);
                                   *$$ = (AstType){@$, {0}, true, $2->at, $2->count}; }
| LBRACKET error RBRACKET        { $$ = arena_new(parse->arena, AstType);
                                   $$->span = @$; yyerrok; }
;

dims:
  %empty                         { LIST_NEW(ExprList, $$); }
| dim_list maybe_comma
;

dim_list:
  dim                            { LIST_NEW(ExprList, $$); LIST_ADD($$, $1); }
| dim_list COMMA dim             { LIST_ADD($1, $3); $$ = $1; }
;

dim:
  expr
| ELLIPSIS                       { $$ = NULL; }
;

/* ---- names ---- */

name:
  NAME                           { $$ = name_of($1, @1); }
| USE                            { $$ = name_of($1, @1); }
| PARAM                          { $$ = name_of($1, @1); }
| OPTION                         { $$ = name_of($1, @1); }
| NET                            { $$ = name_of($1, @1); }
| OPTIMIZER                      { $$ = name_of($1, @1); }
| MODEL                          { $$ = name_of($1, @1); }
| SPLIT                          { $$ = name_of($1, @1); }
| DATA                           { $$ = name_of($1, @1); }
| TRAIN                          { $$ = name_of($1, @1); }
| DEPLOY                         { $$ = name_of($1, @1); }
| PHASE                          { $$ = name_of($1, @1); }
| STEP                           { $$ = name_of($1, @1); }
| EVAL                           { $$ = name_of($1, @1); }
| FINISH                         { $$ = name_of($1, @1); }
| OPTIMIZE                       { $$ = name_of($1, @1); }
| FREEZE                         { $$ = name_of($1, @1); }
| LOAD                           { $$ = name_of($1, @1); }
| TAP                            { $$ = name_of($1, @1); }
| MINIMIZE                       { $$ = name_of($1, @1); }
| REPORT                         { $$ = name_of($1, @1); }
| EXIT                           { $$ = name_of($1, @1); }
| ASSERT                         { $$ = name_of($1, @1); }
;

names:
  name                           { LIST_NEW(NameList, $$); LIST_ADD($$, $1); }
| names COMMA name               { LIST_ADD($1, $3); $$ = $1; }
;

/* `a.b.0`: an instance's name, a tap's, what `<-` goes to. */
as_path:
  name                           { $$ = ast_name(parse->arena, $1); }
| as_path SEGMENT                { $$ = shallow(parse, ast_path(parse->arena, @$, $1,
                                                                name_of($2, @2))); }
;

/* What `deploy` and `split` name: a model, perhaps one of a list. */
path:
  name                           { $$ = ast_name(parse->arena, $1); }
| path SEGMENT                   { $$ = shallow(parse, ast_path(parse->arena, @$, $1,
                                                                name_of($2, @2))); }
| path LBRACKET expr RBRACKET    { $$ = shallow(parse, ast_index(parse->arena, @$, $1, $3)); }
;

/* ---- expressions, from loose to tight ---- */

exprs:
  expr                           { LIST_NEW(ExprList, $$); LIST_ADD($$, $1); }
| exprs COMMA expr               { LIST_ADD($1, $3); $$ = $1; }
;

expr: pipe;

pipe:
  or
| pipe PIPE stage                { $$ = shallow(parse, ast_pipe(parse->arena, @$, $1, $3)); }
| pipe PIPE stage AS as_path     { $$ = shallow(parse, ast_pipe(parse->arena, @$, $1, $3));
                                   $$ = named_call(parse, @$, $$, path_string(parse, $5)); }
| pipe PIPE stage AS string      { $$ = shallow(parse, ast_pipe(parse->arena, @$, $1, $3));
                                   $$ = named_call(parse, @$, $$, $5); }
;

stage: postfix;

or:
  and
| or OR and                      { $$ = binary(parse, @$, BINARY_OR, @2, $1, $3); }
;

and:
  not
| and AND not                    { $$ = binary(parse, @$, BINARY_AND, @2, $1, $3); }
;

not:
  compare
| NOT not                        { $$ = shallow(parse, ast_unary(parse->arena, @$, UNARY_NOT, $2)); }
;

compare:
  range
| compare compare_op range       { $$ = comparison(parse, @$, $2, @2, $1, $3); }
;

compare_op:
  EQUAL                          { $$ = BINARY_EQUAL; }
| NOT_EQUAL                      { $$ = BINARY_NOT_EQUAL; }
| LESS                           { $$ = BINARY_LESS; }
| LESS_EQUAL                     { $$ = BINARY_LESS_EQUAL; }
| GREATER                        { $$ = BINARY_GREATER; }
| GREATER_EQUAL                  { $$ = BINARY_GREATER_EQUAL; }
;

range:
  sum
| range RANGE sum                { $$ = range(parse, @$, $1, $3); }
;

sum:
  product
| sum sum_op product             { $$ = binary(parse, @$, $2, @2, $1, $3); }
;

sum_op:
  PLUS                           { $$ = BINARY_ADD; }
| MINUS                          { $$ = BINARY_SUBTRACT; }
;

product:
  unary
| product product_op unary       { $$ = binary(parse, @$, $2, @2, $1, $3); }
;

product_op:
  TIMES                          { $$ = BINARY_MULTIPLY; }
| DIVIDE                         { $$ = BINARY_DIVIDE; }
| FLOOR_DIVIDE                   { $$ = BINARY_FLOOR_DIVIDE; }
| MODULO                         { $$ = BINARY_MODULO; }
;

unary:
  power
| MINUS unary                    { $$ = shallow(parse, ast_unary(parse->arena, @$, UNARY_NEGATE, $2)); }
;

/* `-a ^ b` is `-(a ^ b)`, `a ^ -b` is allowed, `a ^ b ^ c` is `a ^ (b ^ c)`. */
power:
  named
| named POWER unary              { $$ = binary(parse, @$, BINARY_POWER, @2, $1, $3); }
;

named:
  postfix
| postfix AS as_path             { $$ = named_call(parse, @$, $1, path_string(parse, $3)); }
| postfix AS string              { $$ = named_call(parse, @$, $1, $3); }
;

postfix:
  primary
| postfix LPAREN call_args RPAREN { $$ = shallow(parse, ast_call(parse->arena, @$, $1, $3->at, $3->count)); }
| postfix LPAREN error RPAREN    { $$ = ast_expr(parse->arena, EXPR_ERROR, @$); yyerrok; }
| postfix LBRACKET index RBRACKET { $$ = shallow(parse, ast_index(parse->arena, @$, $1, $3)); }
| postfix LBRACKET error RBRACKET { $$ = ast_expr(parse->arena, EXPR_ERROR, @$); yyerrok; }
| postfix SEGMENT                { $$ = shallow(parse, ast_path(parse->arena, @$, $1,
                                                                name_of($2, @2))); }
;

call_args:
  %empty                         { LIST_NEW(ArgList, $$); }
| args maybe_comma
;

args:
  arg                            { LIST_NEW(ArgList, $$); LIST_ADD($$, $1); }
| args COMMA arg                 { LIST_ADD($1, $3); $$ = $1; }
;

arg:
  expr                           { $$ = (AstArg){.span = @$, .value = $1}; }
| name ASSIGN expr               { $$ = (AstArg){.span = @$, .name = $1, .value = $3}; }
;

two_args:
  arg COMMA arg                  { LIST_NEW(ArgList, $$); LIST_ADD($$, $1); LIST_ADD($$, $3); }
| two_args COMMA arg             { LIST_ADD($1, $3); $$ = $1; }
;

maybe_comma: %empty | COMMA;

index:
  expr
| range RANGE                    { $$ = range(parse, @$, $1, NULL); }
| RANGE sum                      { $$ = range(parse, @$, NULL, $2); }
| RANGE                          { $$ = range(parse, @$, NULL, NULL); }
;

primary:
  NUMBER {
    $$ = ast_number(parse->arena, @$, $1);
    bool is_whole = $1[strspn($1, "0123456789")] == '\0';
    if (is_whole ? !$$->number.is_int : isinf($$->number.value)) {
        kd_error(parse, @$, "this number is too large");
        $$ = ast_expr(parse->arena, EXPR_ERROR, @$);
    }
  }
| string
| TRUE                           { $$ = ast_expr(parse->arena, EXPR_BOOL, @$); $$->boolean = true; }
| FALSE                          { $$ = ast_expr(parse->arena, EXPR_BOOL, @$); }
| POISON                         { $$ = ast_expr(parse->arena, EXPR_ERROR, @$); }
| name                           { $$ = ast_name(parse->arena, $1); }
| LBRACKET RBRACKET              { $$ = ast_list(parse->arena, @$, NULL, 0); }
| LBRACKET exprs maybe_comma RBRACKET { $$ = shallow(parse, ast_list(parse->arena, @$, $2->at, $2->count)); }
| LBRACKET expr for_clauses RBRACKET {
    $$ = shallow(parse, ast_comprehension(parse->arena, @$, $2, $3->at, $3->count));
  }
| LBRACKET error RBRACKET        { $$ = ast_expr(parse->arena, EXPR_ERROR, @$); yyerrok; }
| LPAREN expr RPAREN             { $$ = $2; $$->parenthesised = true; }
| LPAREN RPAREN                   { ArgList none = {0}; $$ = tuple(parse, @$, &none); }
| LPAREN arg COMMA RPAREN         { ArgList one = {0}; LIST_ADD(&one, $2); $$ = tuple(parse, @$, &one); }
| LPAREN two_args maybe_comma RPAREN { $$ = tuple(parse, @$, $2); }
| LPAREN name ASSIGN expr RPAREN  { ArgList one = {0}; LIST_ADD(&one, (AstArg){.span = @$, .value = $4});
                                   $$ = tuple(parse, @$, &one); $$->parenthesised = true; }
| LPAREN error RPAREN            { $$ = ast_expr(parse->arena, EXPR_ERROR, @$); yyerrok; }
| if_branches ELSE LBRACE expr RBRACE { $$ = choice(parse, @$, $1, $4); }
| if_branches ELSE LBRACE error RBRACE { $$ = ast_expr(parse->arena, EXPR_ERROR, @$); yyerrok; }
| if_branches                    { $$ = choice(parse, @$, $1, NULL); }
;

if_branches:
  IF expr LBRACE expr RBRACE     { LIST_NEW(ChoiceList, $$); LIST_ADD($$, (AstChoice){$2, $4}); }
| IF expr LBRACE error RBRACE    { LIST_NEW(ChoiceList, $$); yyerrok;
                                   LIST_ADD($$, (AstChoice){$2, ast_expr(parse->arena, EXPR_ERROR, @4)}); }
| if_branches ELSE IF expr LBRACE expr RBRACE { LIST_ADD($1, (AstChoice){$4, $6}); $$ = $1; }
;

for_clauses:
  for_clause                     { LIST_NEW(ForClauseList, $$); LIST_ADD($$, $1); }
| for_clauses for_clause         { LIST_ADD($1, $2); $$ = $1; }
;

for_clause:
  FOR names IN expr              { $$ = (AstForClause){$2->at, $2->count, $4, NULL}; }
| for_clause IF expr {
    $$ = $1;
    $$.condition = $$.condition ? binary(parse, @3, BINARY_AND, @2, $$.condition, $3) : $3;
  }
;

string:
  QUOTE_OPEN parts QUOTE_CLOSE   { $$ = string(parse, @$, $2); }
;

parts:
  %empty                         { LIST_NEW(PartList, $$); }
| parts TEXT                     { add_text(parse, $1, $2); $$ = $1; }
| parts INTERP_OPEN expr INTERP_CLOSE { LIST_ADD($1, (AstStringPart){NULL, $3}); $$ = $1; }
| parts INTERP_OPEN error INTERP_CLOSE {
    LIST_ADD($1, (AstStringPart){NULL, ast_expr(parse->arena, EXPR_ERROR, @3)});
    $$ = $1;
    yyerrok;
  }
;

%%

// ---- between parser and filter ----

static int yylex(YYSTYPE *value, Span *span, KdParse *parse) {
    parse->given_before = parse->given;
    parse->given = kd_next_token(parse);
    value->text = parse->given.text;
    *span = parse->given.span;
    return parse->given.kind;
}

static int yyreport_syntax_error(const yypcontext_t *context, KdParse *parse) {
    // The context speaks of symbols; messages are made from tokens.
    yysymbol_kind_t symbols[YYNTOKENS];
    int symbol_count = yypcontext_expected_tokens(context, symbols, YYNTOKENS);
    int tokens[YYNTOKENS];
    int count = 0;
    for (int token = TOK_LINE_END; token < TOK_POISON; token++)
        for (int i = 0; i < symbol_count; i++)
            if (symbols[i] == YYTRANSLATE(token))
                tokens[count++] = token;
    KdToken found = parse->given;
    kd_syntax_error(parse, &found, tokens, count);
    kd_layout_panic(parse, &found);
    return 0;
}

/// Called for a full stack alone: syntax errors go to yyreport_syntax_error().
static void yyerror(const Span *span, KdParse *parse, const char *message) {
    (void)message;
    kd_error(parse, *span, "this is nested too deeply");
}

const char *kd_token_name(int kind) {
    return yysymbol_name(YYTRANSLATE(kind));
}

// ---- what actions do in more than a line ----

static AstName name_of(const char *text, Span span) {
    return (AstName){text, span};
}

/// `expr`, or poison if it is deeper than a tree may be.
static AstExpr *shallow(KdParse *parse, AstExpr *expr) {
    if (expr->depth <= AST_DEPTH_MAX)
        return expr;
    // A chain goes on behind the poison, from the same place.
    if (expr->span.begin + 1 != parse->deep_begin) {
        Diag *d = kd_error(parse, expr->span, "this expression is nested more than %d deep",
                           AST_DEPTH_MAX);
        diag_help(d, "give parts of it names with `let`");
    }
    parse->deep_begin = expr->span.begin + 1;
    return ast_expr(parse->arena, EXPR_ERROR, expr->span);
}

static AstExpr *binary(KdParse *parse, Span span, AstBinaryOp op, Span op_span, AstExpr *left,
                       AstExpr *right) {
    return shallow(parse, ast_binary(parse->arena, span, op, op_span, left, right));
}

/// A chain is reported at its second sign and becomes poison, so that a third says nothing.
static AstExpr *comparison(KdParse *parse, Span span, AstBinaryOp op, Span op_span, AstExpr *left,
                           AstExpr *right) {
    bool chained = left->kind == EXPR_BINARY && !left->parenthesised &&
                   binary_op_is_comparison(left->binary.op);
    if (!chained)
        return binary(parse, span, op, op_span, left, right);
    Diag *d = kd_error(parse, op_span, "comparisons do not chain");
    diag_mark(d, left->binary.op_span);
    diag_help(d, "write `a < b and b < c`");
    return ast_expr(parse->arena, EXPR_ERROR, span);
}

static AstExpr *range(KdParse *parse, Span span, AstExpr *low, AstExpr *high) {
    if (low && low->kind == EXPR_RANGE && !low->parenthesised) {
        Diag *d = kd_error(parse, span, "ranges do not chain");
        diag_help(d, "`a..b` counts from a up to b, without b");
        return ast_expr(parse->arena, EXPR_ERROR, span);
    }
    return shallow(parse, ast_range(parse->arena, span, low, high));
}

/// Text and escapes come in pieces; side by side they are one part.
static void add_text(KdParse *parse, PartList *parts, const char *text) {
    if (text)
        LIST_ADD(parts, (AstStringPart){text, NULL});
}

static AstExpr *string(KdParse *parse, Span span, PartList *parts) {
    AstExpr *expr = ast_expr(parse->arena, EXPR_STRING, span);
    size_t count = 0;
    for (size_t i = 0; i < parts->count; count++) {
        if (parts->at[i].value) {
            if (parts->at[i].value->depth >= expr->depth)
                expr->depth = parts->at[i].value->depth + 1;
            parts->at[count] = parts->at[i++];
            continue;
        }
        size_t first = i;
        StrBuf text = {.arena = parse->arena};
        while (i < parts->count && parts->at[i].text)
            i++;
        if (i > first + 1) {
            for (size_t k = first; k < i; k++)
                strbuf_puts(&text, parts->at[k].text);
            parts->at[count] = (AstStringPart){strbuf_text(&text), NULL};
        } else {
            parts->at[count] = parts->at[first];
        }
    }
    expr->string.parts = parts->at;
    expr->string.count = count;
    return shallow(parse, expr);
}

/// `(a, b)`, `(a = b)`: a mistake, but which one is known only where it stands (placement.c).
static AstExpr *tuple(KdParse *parse, Span span, ArgList *args) {
    if (parse->source->text[span.end - 1] != ')') // one that was not closed
        return ast_expr(parse->arena, EXPR_ERROR, span);
    AstExpr **items = arena_array(parse->arena, AstExpr *, args->count);
    for (size_t i = 0; i < args->count; i++)
        items[i] = args->at[i].value;
    AstExpr *expr = ast_list(parse->arena, span, items, args->count);
    expr->kind = EXPR_TUPLE;
    vec_push(parse->arena, &parse->tuples, expr);
    return shallow(parse, expr);
}

static AstExpr *named_call(KdParse *parse, Span span, AstExpr *call, AstExpr *name) {
    if (call->kind == EXPR_ERROR)
        return call;
    if (call->kind != EXPR_CALL || call->call.as) {
        Diag *d = kd_error(parse, name->span, "`as` names the call before it, and there is none");
        diag_mark(d, call->span);
        return ast_expr(parse->arena, EXPR_ERROR, span);
    }
    call->call.as = name;
    call->span = span;
    if (name->depth >= call->depth)
        call->depth = name->depth + 1;
    return shallow(parse, call);
}

static AstExpr *path_string(KdParse *parse, AstExpr *path) {
    const char *text = ast_path_text(parse->arena, path);
    return text ? ast_string(parse->arena, path->span, text) : path; // poison, if it is too deep
}

/// An `if` as a value. `otherwise` is NULL if there was no `else`.
static AstExpr *choice(KdParse *parse, Span span, ChoiceList *branches, AstExpr *otherwise) {
    if (!otherwise) {
        Span word = kd_span(parse, span.begin, span.begin + 2);
        Diag *d = kd_error(parse, word, "an `if` that is a value needs an `else`");
        diag_help(d, "write `if c { a } else { b }`");
        return ast_expr(parse->arena, EXPR_ERROR, span);
    }
    LIST_ADD(branches, (AstChoice){NULL, otherwise});
    return shallow(parse, ast_choice(parse->arena, span, branches->at, branches->count));
}

static AstBlock *block_of(KdParse *parse, Span span, StmtList *stmts) {
    enum { ONE_LINE_BYTES = 200 }; // more does not fit on a line anyway
    AstBlock *block = arena_new(parse->arena, AstBlock);
    size_t length = span.end - span.begin;
    *block = (AstBlock){
        .stmts = stmts->at,
        .count = stmts->count,
        .span = span,
        .one_line = length <= ONE_LINE_BYTES &&
                    !memchr(parse->source->text + span.begin, '\n', length),
    };
    return block;
}

static AstBranch branch(AstExpr *condition, AstBlock *body) {
    return (AstBranch){condition, *body};
}

static AstStmt *stmt(KdParse *parse, AstStmtKind kind, Span span) {
    AstStmt *result = ast_stmt(parse->arena, kind, span);
    // The first word: letters and digits from the beginning on.
    const char *text = parse->source->text;
    uint32_t end = span.begin;
    while (end < span.end && (text[end] == '_' || (text[end] >= '0' && text[end] <= '9') ||
                              (text[end] >= 'a' && text[end] <= 'z') ||
                              (text[end] >= 'A' && text[end] <= 'Z')))
        end++;
    result->word_span = end > span.begin ? kd_span(parse, span.begin, end) : span;
    return result;
}

static AstStmt *function(KdParse *parse, AstStmtKind kind, Span span, AstName name,
                         ParamList *params, AstExpr *value, AstBlock *body) {
    AstStmt *result = stmt(parse, kind, span);
    result->function.name = name;
    result->function.params = params->at;
    result->function.param_count = params->count;
    result->function.value = value;
    result->function.body = body;
    return result;
}

/// At the prompt: what stands before `<-` was read as an expression.
static AstStmt *update(KdParse *parse, Span span, AstExpr *target, AstExpr *value) {
    AstStmt *result = stmt(parse, STMT_UPDATE, span);
    if (target->kind != EXPR_ERROR && !ast_path_text(parse->arena, target)) {
        kd_error(parse, target->span, "`<-` updates a state or a model, by its name");
        result->kind = STMT_ERROR;
        return result;
    }
    result->assign.target = target;
    result->assign.value = value;
    return result;
}

static const char *plain_text(KdParse *parse, AstExpr *expr, const char *what) {
    const char *text = ast_plain_string(expr);
    if (!text && expr->kind != EXPR_ERROR)
        kd_error(parse, expr->span, "%s holds no expressions", what);
    return text ? text : "";
}
