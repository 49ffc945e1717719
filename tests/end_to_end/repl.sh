#!/bin/bash
# The REPL from outside: its memory, its workers' ends, times, and a terminal.
. "$(dirname "$0")/parts/cases.sh"
export HOME=$work # for the history

# Resident pages of the session itself, asked for after each part of a script.
resident() {
    local -a pages
    read -ra pages <"/proc/$session/statm"
    echo "${pages[1]}"
}
coproc REPL { exec "$KDC" repl; }
session=$REPL_PID
say() {
    printf '%s\n' "$@" >&"${REPL[1]}"
}
# Reads lines up to one like the pattern.
hear() {
    local line
    while read -r -t 60 line <&"${REPL[0]}"; do
        # shellcheck disable=SC2053
        [[ $line == $1 ]] && return
        echo "heard: $line"
    done
    return 1
}
define() {
    local i
    for ((i = $1; i < $2; i++)); do
        say "fn f(a) = $i + sum(a * $i)" "net n(x) { return flatten(x) |> linear($((i % 5 + 1))) }" \
            "param k = [$i, $i]" "let y = [$i, \"$i\"]"
        ((i % 10)) || say "let x = randn([64, 64], seed = $i)" "let broken = f(nowhere)"
        say "\"round $i\""
        hear "\"round $i\"" || return
    done
}
check "50 rounds of definitions" define 0 50
before=$(resident)
check "1,000 redefinitions" define 50 250
after=$(resident)
check "leave memory flat: $before pages, then $after" test $((after - before)) -lt 64

# A worker that dies costs one input.
say 'let big = randn([400, 400])'
say 'for i in 0..1 { assert true }' 'sum(ones([2, 2]))'
check "a value" hear 'f32[[]] = 4'
say ':time matmul(big, big)'
check ":time says what compiled code takes" hear '* ms, the best of *; compiled in * ms'
say 'let huge = randn([1000000, 1000000])' '1 + 1'
check "more memory than there is" hear 'kdc: out of memory'
check "does not end it" hear 'kdc: the session goes on'
check "nor what follows" hear 2
say 'sum(matmul(randn([6000, 6000]), randn([6000, 6000])))'
kill_worker() {
    local i worker
    for ((i = 0; i < 200; i++)); do
        worker=$(pgrep -P "$session") && break
        sleep 0.05
    done
    kill -SEGV "$worker"
}
check "a computation" kill_worker
check "crashes" hear 'kdc: this ended by signal 11 (Segmentation fault); the session goes on'
say 'sum(ones([2, 3]))'
check "and the session lives" hear 'f32[[]] = 6'
say ':quit'
wait "$session"
check "it leaves when it is told to" test $? -eq 0

check "nobody reads on" sh -c 'yes "1 + 1" | head -n 1000 | "$KDC" repl | head -n 1'
check "an empty script" ends 0 '' "$KDC" repl
check "a script that ends in the middle" ends 0 '*this `(` is not closed*' sh -c 'printf "f(1," | "$KDC" repl'

# At a terminal: prompt, completion, history, Ctrl-C.
if command -v tmux >/dev/null; then
    terminal="tmux -L kdc$$ -f /dev/null"
    screen() {
        local i
        for ((i = 0; i < 100; i++)); do
            text=$($terminal capture-pane -p | sed '/^$/d')
            # shellcheck disable=SC2053
            [[ $text == $1 ]] && return
            sleep 0.1
        done
        echo "$text"
        return 1
    }
    $terminal new-session -d -x 90 -y 40 "$KDC"
    check "the prompt" screen 'kd>'
    $terminal send-keys 'let x = ones([2])' Enter 'softma' Tab '(x)' Enter
    check "a name is completed" screen $'kd> let x = ones(\[2])\nkd> softmax(x)\nf32\[2] = \[0.5, 0.5]\nkd>'
    $terminal send-keys 'fn f(a) = (' Enter
    check "another line is asked for" screen $'*\nkd> fn f(a) = (\n...'
    $terminal send-keys C-c
    check "Ctrl-C gives it up" screen $'*\n... ^C\nkd>'
    $terminal send-keys Up Up Up Enter
    check "an earlier line comes back" screen $'*^C\nkd> let x = ones(\[2])\nkd>'
    $terminal send-keys 'sum(matmul(randn([6000, 6000]), randn([6000, 6000])))' Enter
    sleep 1
    $terminal send-keys C-c
    check "Ctrl-C ends a computation alone" screen $'*\n*kdc: interrupted\nkd>'
    $terminal send-keys C-d
    check "Ctrl-D leaves" sh -c "! $terminal has-session 2>/dev/null || { sleep 1; ! $terminal has-session; }"
    check "the history is kept" grep -q 'let.040x.040=.040ones' .kdc_history
    $terminal kill-server 2>/dev/null
else
    ((skipped++))
fi
finish
