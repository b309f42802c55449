#!/usr/bin/env bash
# Trains configs/two_input_babi.yaml on each of the 20 bAbI tasks, one model per task, and prints the
# test accuracies next to two published results:
#
#   scripts/babi.sh TASKS RUNS [ARGUMENTS OF lstmtext train...]
#
# TASKS is the directory with qa1_*_train.txt and so on. Tasks that have a summary.json in RUNS are
# skipped, so an interrupted call resumes at the task where it stopped. LSTMTEXT is the path of the
# program.
set -euo pipefail

if (($# < 2)); then
  echo "usage: $0 TASKS RUNS [ARGUMENTS OF lstmtext train...]" >&2
  exit 2
fi
tasks=$1 runs=$2
shift 2
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
program=${LSTMTEXT:-$here/target/release/lstmtext}

# Accuracy in % on tasks 1 to 20 with 1,000 training questions each: one LSTM that reads the story and
# then the question (Weston et al. 2015), and one recurrent network for each of them (Keras's babi_rnn
# example).
single=(50 20 20 61 70 48 49 45 64 44 72 74 94 27 21 23 51 52 8 91)
double=(52.1 37 20.5 62.9 61.9 50.7 78.9 77.2 64 47.7 74.9 76.4 94.4 34.8 32.4 50.6 49.1 90.8 9 90.7)

if ! compgen -G "$tasks/qa1_*_train.txt" > /dev/null; then
  echo "babi: \"$tasks\" has no qa1_*_train.txt; download the tasks with: $program data fetch babi" >&2
  exit 1
fi
mkdir -p "$runs"
for task in {1..20}; do
  run="$runs/qa$task"
  if [[ ! -e $run/summary.json ]]; then
    echo "babi: task $task of 20" >&2
    # An interrupted call leaves an incomplete run.
    rm -rf "$run"
    "$program" train "$here/configs/two_input_babi.yaml" --out "$run" \
      --set "data.train=$tasks/qa${task}_*_train.txt" \
      --set "data.test=$tasks/qa${task}_*_test.txt" "$@" > /dev/null 2> "$runs/qa$task.log" || {
      code=$?
      tail -n 3 "$runs/qa$task.log" >&2
      exit "$code"
    }
  fi
done

accuracy() {
  awk '/"test"/ { test = 1 } test && /"accuracy"/ { print 100 * $2; exit }' "$runs/qa$1/summary.json"
}

echo 'task    lstmtext  one LSTM  two networks'
for task in {1..20}; do
  echo "$task $(accuracy "$task") ${single[task - 1]} ${double[task - 1]}"
done | awk '
  { printf "%4d  %10.1f  %8.1f  %12.1f\n", $1, $2, $3, $4; ours += $2; one += $3; two += $4 }
  END { printf "mean  %10.1f  %8.1f  %12.1f\n", ours / NR, one / NR, two / NR }'
cat << 'END'

Test accuracy in %
lstmtext: one LSTM reads question, story, question, another reads the question
one LSTM: Weston et al. 2015, reads story, question
two networks: Keras's babi_rnn example, one reads the story, the other the question
END
