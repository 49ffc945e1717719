#!/bin/bash
# Every message in the sources has a case that shows it: each string that reads like a sentence is looked for in
# the expectations. A string passes if a line of them matches it, conversions standing for anything, or if a test
# asks for a piece of it of three words or more. What cannot be provoked is listed below, with the reason.
#
#     KDC=build/release/kdc tests/end_to_end/every_message.sh
set -u
cd "$(dirname "$0")/../.." || exit 2
help=$(mktemp)
trap 'rm -f "$help"' EXIT
{
    "$KDC" --help
    "$KDC" help passes
    "$KDC" help ops
    echo ':help' | "$KDC" repl
} >"$help" 2>&1

perl - "$help" <<'PERL'
use strict;
use warnings;

# Parts of strings; a string that holds one needs no case.
my @allowed = (
    # the system fails where a test cannot make it
    'no thread can be started', 'cannot be closed', 'cannot be listed', 'the scanner gave up',
    'zlib refuses it', 'pipe: ', 'fork: ', 'the session goes on', 'this ended by signal',
    # guards against ourselves: what comes before has made sure
    'is damaged', 'is out of range', 'no function for the graph', 'another number of functions',
    'was compiled for runtime', 'was compiled for a last batch', 'which `%` asks for', 'unknown part',
    'no true or false', 'too many axes in', 'too many numbers in', 'pixels is too large', 'without readers of images', 'differ in length in', 'no scalar is the report',
    'is normalised by % means', 'has more than 64 fields', 'the JIT refuses the object',
    'wrong module', 'this kdc reads no data', 'would have extent', 'checkpoints are little-endian',
    'has no output', 'what was reported', 'no state % of an input', 'no list', 'no text',
    'of another model is', 'without origin is', 'without text is', 'of another size than its origin is',
    # the help of a training binary
    'other weights for a model',
    # seen by people at a terminal alone
    'complete a name', 'give the line up', 'no batch was run', 'images/s', ' left',
    # in files of 16 MiB and more, names of 4096 bytes, a million tensors
    'is larger than % MiB', 'the path is too long', 'more than % tensors', 'more than the limit of', 'the name is too long',
    # time is never the same
    'the best of',
    # constants: what docs/language.md says of them is tested there; tables of what a binary reads
    'circumference by diameter', 'number besides', "format: train-images", 'binary files:',
    # names of results, not messages
    'best value', 'sums of examples',
    # parts of a token's name that no grammar rule ever expects
    'end of the string',
);

# The string literals of C text, those side by side as one; macros between them, such as PRId64, become \x01.
# Those of kdc_bug() and the like are left out: they are no messages for users.
sub literals {
    my ($path) = @_;
    open my $in, '<', $path or die "$path: $!\n";
    local $/;
    my $text = <$in>;
    my ($line, $now, $from, $call, @found) = (1, undef, 0, '');
    my $flush = sub { push @found, [$path, $from, $now] if defined $now; undef $now };
    while ($text =~ /\G(?:(?<skip>\/\/[^\n]*|\/\*.*?\*\/|^\#[^\n]*|\\.|'(?:[^'\\\n]|\\.)+'|\s+)
                        |"(?<string>(?:[^"\\\n]|\\.)*)"|(?<macro>PRI[a-zA-Z0-9]+)|(?<call>\w+)(?=\()
                        |(?<word>\w+)|(?<other>.))/xsmg) {
        my ($token, %part) = ($&, %+);
        if (defined $part{string}) {
            $from = $line unless defined $now;
            $now = ($now // '') . $part{string} if $call !~ /^(kdc_bug|kdc_assert|_Static_assert|OP|PASS|TRANSFORM|SOURCE)$/;
        } elsif (defined $part{macro}) {
            $now .= "\x01" if defined $now;
        } elsif (!defined $part{skip}) {
            $flush->();
            $call = $part{call} if defined $part{call};
            $call = '' if $token eq ';' || $token eq '{';
        }
        $line += $token =~ tr/\n//;
    }
    $flush->();
    return @found;
}

# A C string as it is printed; conversions become \x01.
sub printed {
    my ($s) = @_;
    $s =~ s/\\n/\n/g;
    $s =~ s/\\(["\\])/$1/g;
    $s =~ s/%%/\x02/g;
    $s =~ s/%[-+ #0]*(?:\*|\d+)?(?:\.(?:\*|\d+))?(?:hh|h|ll|l|z|t|j)?[a-zA-Z]?/\x01/g;
    $s =~ s/\x02/%/g;
    $s =~ s/\x01+/\x01/g;
    return $s;
}

sub files {
    my ($folders, $ending) = @_;
    return grep { !m{/parts/} } split ' ', `find $folders -type f | grep -E '[.]($ending)\$' | LC_ALL=C sort`;
}

my (@lines, @pieces);
for my $path (files('tests docs/language.md', 'err|out|sh|md'), $ARGV[0]) {
    next if $path =~ /every_message/;
    open my $in, '<', $path or next;
    while (my $line = <$in>) {
        chomp $line;
        if ($path =~ /sh$/) { # patterns of the shell, with stars
            $line =~ s/\\(.)/$1/g;
            push @pieces, map { split /\*/ } grep { defined } $line =~ /'([^']*)'|"([^"]*)"/g;
        }
        push @lines, $line;
    }
}
for my $path (files('tests', 'c|h')) {
    for my $found (literals($path)) {
        my $text = printed($found->[2]);
        push @lines, split /\n/, $text;
        push @pieces, split /[\x01\n*]/, $text;
    }
}
my $piece = join "\n", grep { length >= 12 && (() = /\s/g) >= 2 } @pieces;
my @piece = split /\n/, $piece;
my $shown = join "\n", @lines;

my ($passed, $failed, %seen) = (0, 0);
for my $path (files('grammar frontend driver runtime ir/infer.c', 'c|y|l|h|def')) {
    for my $found (literals($path)) {
        for my $text (split /\n/, printed($found->[2])) {
            (my $readable = $text) =~ s/\x01/%/g;
            my @words = $readable =~ /[A-Za-z]{2,}/g;
            next unless @words >= 2 && $text =~ /[a-z`,;] [`a-z]/; # a sentence, or a part of one
            next if $seen{$text}++ || grep { index($readable, $_) >= 0 } @allowed;
            my $pattern = join '.*', map { quotemeta } split /\x01/, $text, -1;
            if ($shown =~ /$pattern/ || grep { index($text, $_) >= 0 } @piece) {
                $passed++;
            } else {
                $failed++;
                print "FAILED $found->[0]:$found->[1]: no case shows: $readable\n";
            }
        }
    }
}
print "cases: $passed passed, $failed failed, 0 skipped\n";
exit($failed > 0 || $passed < 500);
PERL
