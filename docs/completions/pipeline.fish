# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_pipeline_global_optspecs
    string join \n color= h/help V/version
end

function __fish_pipeline_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_pipeline_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_pipeline_using_subcommand
    set -l cmd (__fish_pipeline_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c pipeline -n "__fish_pipeline_needs_command" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pipeline -n "__fish_pipeline_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipeline -n "__fish_pipeline_needs_command" -s V -l version -d 'Print version'
complete -c pipeline -n "__fish_pipeline_needs_command" -f -a "init" -d 'Write a commented pipeline file for this repository'
complete -c pipeline -n "__fish_pipeline_needs_command" -f -a "validate" -d 'Report every problem of pipeline files'
complete -c pipeline -n "__fish_pipeline_needs_command" -f -a "schema" -d 'Print the JSON Schema of the pipeline file'
complete -c pipeline -n "__fish_pipeline_needs_command" -f -a "explain" -d 'Tell more about a diagnostic or reason code'
complete -c pipeline -n "__fish_pipeline_needs_command" -f -a "plan" -d 'Show what a run would do, and start nothing'
complete -c pipeline -n "__fish_pipeline_needs_command" -f -a "graph" -d 'Draw the units and what they need'
complete -c pipeline -n "__fish_pipeline_needs_command" -f -a "run" -d 'Run a pipeline file, or continue its run'
complete -c pipeline -n "__fish_pipeline_needs_command" -f -a "runs" -d 'List the runs of this repository'
complete -c pipeline -n "__fish_pipeline_needs_command" -f -a "status" -d 'Show where every unit is'
complete -c pipeline -n "__fish_pipeline_needs_command" -f -a "queue" -d 'Show the merge queue, or change it by hand'
complete -c pipeline -n "__fish_pipeline_needs_command" -f -a "logs" -d 'Print the output of a unit\'s attempts'
complete -c pipeline -n "__fish_pipeline_needs_command" -f -a "show" -d 'Show everything about a unit'
complete -c pipeline -n "__fish_pipeline_needs_command" -f -a "why" -d 'Tell why a unit is where it is, and what it waits for'
complete -c pipeline -n "__fish_pipeline_needs_command" -f -a "diff" -d 'Show the change of a unit'
complete -c pipeline -n "__fish_pipeline_needs_command" -f -a "evicted" -d 'List the units that need a person'
complete -c pipeline -n "__fish_pipeline_needs_command" -f -a "resolve" -d 'Repair an evicted unit by hand'
complete -c pipeline -n "__fish_pipeline_needs_command" -f -a "retry" -d 'Let a unit be done afresh'
complete -c pipeline -n "__fish_pipeline_needs_command" -f -a "discard" -d 'Give a unit up'
complete -c pipeline -n "__fish_pipeline_needs_command" -f -a "cancel" -d 'Take a unit out of the run'
complete -c pipeline -n "__fish_pipeline_needs_command" -f -a "pause" -d 'Start and land nothing until the run is resumed'
complete -c pipeline -n "__fish_pipeline_needs_command" -f -a "resume" -d 'Lift a pause'
complete -c pipeline -n "__fish_pipeline_needs_command" -f -a "approve" -d 'Let a unit pass its gate'
complete -c pipeline -n "__fish_pipeline_needs_command" -f -a "reject" -d 'Do not let a unit pass its gate'
complete -c pipeline -n "__fish_pipeline_needs_command" -f -a "clean" -d 'Remove what no live unit owns'
complete -c pipeline -n "__fish_pipeline_needs_command" -f -a "doctor" -d 'Check git, the agents and the repository\'s state'
complete -c pipeline -n "__fish_pipeline_needs_command" -f -a "demo" -d 'Make a scratch repository and run a small pipeline in it'
complete -c pipeline -n "__fish_pipeline_needs_command" -f -a "completions" -d 'Print completions for a shell'
complete -c pipeline -n "__fish_pipeline_needs_command" -f -a "__supervise" -d 'Supervise one process; for the program\'s own use'
complete -c pipeline -n "__fish_pipeline_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pipeline -n "__fish_pipeline_using_subcommand init" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pipeline -n "__fish_pipeline_using_subcommand init" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipeline -n "__fish_pipeline_using_subcommand init" -s V -l version -d 'Print version'
complete -c pipeline -n "__fish_pipeline_using_subcommand validate" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pipeline -n "__fish_pipeline_using_subcommand validate" -l json -d 'Print JSON'
complete -c pipeline -n "__fish_pipeline_using_subcommand validate" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipeline -n "__fish_pipeline_using_subcommand validate" -s V -l version -d 'Print version'
complete -c pipeline -n "__fish_pipeline_using_subcommand schema" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pipeline -n "__fish_pipeline_using_subcommand schema" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipeline -n "__fish_pipeline_using_subcommand schema" -s V -l version -d 'Print version'
complete -c pipeline -n "__fish_pipeline_using_subcommand explain" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pipeline -n "__fish_pipeline_using_subcommand explain" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipeline -n "__fish_pipeline_using_subcommand explain" -s V -l version -d 'Print version'
complete -c pipeline -n "__fish_pipeline_using_subcommand plan" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pipeline -n "__fish_pipeline_using_subcommand plan" -l json -d 'Print JSON'
complete -c pipeline -n "__fish_pipeline_using_subcommand plan" -l detailed-exitcode -d 'Exit with 12 when there is something to do, with 0 when there is not'
complete -c pipeline -n "__fish_pipeline_using_subcommand plan" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipeline -n "__fish_pipeline_using_subcommand plan" -s V -l version -d 'Print version'
complete -c pipeline -n "__fish_pipeline_using_subcommand graph" -l format -d 'How to draw it' -r -f -a "ascii\t'For a terminal'
svg\t'A picture for a browser'
dot\t'For Graphviz'
mermaid\t'For Markdown'"
complete -c pipeline -n "__fish_pipeline_using_subcommand graph" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pipeline -n "__fish_pipeline_using_subcommand graph" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipeline -n "__fish_pipeline_using_subcommand graph" -s V -l version -d 'Print version'
complete -c pipeline -n "__fish_pipeline_using_subcommand run" -l target -d 'The branch to land on, instead of the file\'s' -r
complete -c pipeline -n "__fish_pipeline_using_subcommand run" -l land -d 'Where units land, instead of what the file says' -r -f -a "local\t'On the target itself'
branch\t'On a branch `pipeline/RUN` from the target, which you merge'"
complete -c pipeline -n "__fish_pipeline_using_subcommand run" -l parallel -d 'Attempts at once, instead of the file\'s' -r
complete -c pipeline -n "__fish_pipeline_using_subcommand run" -l budget-usd -d 'Money for the run, instead of the file\'s' -r
complete -c pipeline -n "__fish_pipeline_using_subcommand run" -l time-limit -d 'Start no more work after this long, such as 45m' -r
complete -c pipeline -n "__fish_pipeline_using_subcommand run" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pipeline -n "__fish_pipeline_using_subcommand run" -l dry-run -d 'Show what would be done, and start nothing'
complete -c pipeline -n "__fish_pipeline_using_subcommand run" -l fresh -d 'Start over, even when the file\'s run is not finished'
complete -c pipeline -n "__fish_pipeline_using_subcommand run" -l no-preflight -d 'Go on even when the checks fail on the target itself'
complete -c pipeline -n "__fish_pipeline_using_subcommand run" -l no-fetch -d 'Take the target as it is here, without fetching its upstream'
complete -c pipeline -n "__fish_pipeline_using_subcommand run" -l json -d 'Print one event a line as JSON'
complete -c pipeline -n "__fish_pipeline_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipeline -n "__fish_pipeline_using_subcommand run" -s V -l version -d 'Print version'
complete -c pipeline -n "__fish_pipeline_using_subcommand runs" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pipeline -n "__fish_pipeline_using_subcommand runs" -l json -d 'Print JSON'
complete -c pipeline -n "__fish_pipeline_using_subcommand runs" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipeline -n "__fish_pipeline_using_subcommand runs" -s V -l version -d 'Print version'
complete -c pipeline -n "__fish_pipeline_using_subcommand status" -l run -d 'The run, by name or id [default: the latest]' -r
complete -c pipeline -n "__fish_pipeline_using_subcommand status" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pipeline -n "__fish_pipeline_using_subcommand status" -l json -d 'Print JSON'
complete -c pipeline -n "__fish_pipeline_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipeline -n "__fish_pipeline_using_subcommand status" -s V -l version -d 'Print version'
complete -c pipeline -n "__fish_pipeline_using_subcommand queue; and not __fish_seen_subcommand_from add top freeze help" -l run -d 'The run, by name or id [default: the latest]' -r
complete -c pipeline -n "__fish_pipeline_using_subcommand queue; and not __fish_seen_subcommand_from add top freeze help" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pipeline -n "__fish_pipeline_using_subcommand queue; and not __fish_seen_subcommand_from add top freeze help" -l json -d 'Print JSON'
complete -c pipeline -n "__fish_pipeline_using_subcommand queue; and not __fish_seen_subcommand_from add top freeze help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipeline -n "__fish_pipeline_using_subcommand queue; and not __fish_seen_subcommand_from add top freeze help" -s V -l version -d 'Print version'
complete -c pipeline -n "__fish_pipeline_using_subcommand queue; and not __fish_seen_subcommand_from add top freeze help" -f -a "add" -d 'Bring a branch, a person\'s too, into the queue of a run'
complete -c pipeline -n "__fish_pipeline_using_subcommand queue; and not __fish_seen_subcommand_from add top freeze help" -f -a "top" -d 'Let a unit in the queue go next; what is being verified goes on'
complete -c pipeline -n "__fish_pipeline_using_subcommand queue; and not __fish_seen_subcommand_from add top freeze help" -f -a "freeze" -d 'Land nothing of a priority below a number, until the freeze is lifted'
complete -c pipeline -n "__fish_pipeline_using_subcommand queue; and not __fish_seen_subcommand_from add top freeze help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pipeline -n "__fish_pipeline_using_subcommand queue; and __fish_seen_subcommand_from add" -l file -d 'The pipeline file whose checks, agents and queue it goes through [default: that of the latest run]' -r -F
complete -c pipeline -n "__fish_pipeline_using_subcommand queue; and __fish_seen_subcommand_from add" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pipeline -n "__fish_pipeline_using_subcommand queue; and __fish_seen_subcommand_from add" -l no-review -d 'Straight to verification: nobody but the queue\'s checks judges it'
complete -c pipeline -n "__fish_pipeline_using_subcommand queue; and __fish_seen_subcommand_from add" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipeline -n "__fish_pipeline_using_subcommand queue; and __fish_seen_subcommand_from add" -s V -l version -d 'Print version'
complete -c pipeline -n "__fish_pipeline_using_subcommand queue; and __fish_seen_subcommand_from top" -l run -d 'The run, by name or id [default: the latest]' -r
complete -c pipeline -n "__fish_pipeline_using_subcommand queue; and __fish_seen_subcommand_from top" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pipeline -n "__fish_pipeline_using_subcommand queue; and __fish_seen_subcommand_from top" -l interrupt -d 'Break off the verifications before it; they are repeated behind it, free of charge'
complete -c pipeline -n "__fish_pipeline_using_subcommand queue; and __fish_seen_subcommand_from top" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipeline -n "__fish_pipeline_using_subcommand queue; and __fish_seen_subcommand_from top" -s V -l version -d 'Print version'
complete -c pipeline -n "__fish_pipeline_using_subcommand queue; and __fish_seen_subcommand_from freeze" -l below -d 'The lowest priority that still lands' -r
complete -c pipeline -n "__fish_pipeline_using_subcommand queue; and __fish_seen_subcommand_from freeze" -l run -d 'The run, by name or id [default: the latest]' -r
complete -c pipeline -n "__fish_pipeline_using_subcommand queue; and __fish_seen_subcommand_from freeze" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pipeline -n "__fish_pipeline_using_subcommand queue; and __fish_seen_subcommand_from freeze" -l off -d 'Lift the freeze'
complete -c pipeline -n "__fish_pipeline_using_subcommand queue; and __fish_seen_subcommand_from freeze" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipeline -n "__fish_pipeline_using_subcommand queue; and __fish_seen_subcommand_from freeze" -s V -l version -d 'Print version'
complete -c pipeline -n "__fish_pipeline_using_subcommand queue; and __fish_seen_subcommand_from help" -f -a "add" -d 'Bring a branch, a person\'s too, into the queue of a run'
complete -c pipeline -n "__fish_pipeline_using_subcommand queue; and __fish_seen_subcommand_from help" -f -a "top" -d 'Let a unit in the queue go next; what is being verified goes on'
complete -c pipeline -n "__fish_pipeline_using_subcommand queue; and __fish_seen_subcommand_from help" -f -a "freeze" -d 'Land nothing of a priority below a number, until the freeze is lifted'
complete -c pipeline -n "__fish_pipeline_using_subcommand queue; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pipeline -n "__fish_pipeline_using_subcommand logs" -l attempt -d 'Only this attempt, counted as `pipeline show` counts them' -r
complete -c pipeline -n "__fish_pipeline_using_subcommand logs" -l run -d 'The run, by name or id [default: the latest]' -r
complete -c pipeline -n "__fish_pipeline_using_subcommand logs" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pipeline -n "__fish_pipeline_using_subcommand logs" -l failed -d 'Only attempts that failed'
complete -c pipeline -n "__fish_pipeline_using_subcommand logs" -s f -l follow -d 'Go on printing what the attempts write, one after another, until the unit or the engine has ended'
complete -c pipeline -n "__fish_pipeline_using_subcommand logs" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipeline -n "__fish_pipeline_using_subcommand logs" -s V -l version -d 'Print version'
complete -c pipeline -n "__fish_pipeline_using_subcommand show" -l run -d 'The run, by name or id [default: the latest]' -r
complete -c pipeline -n "__fish_pipeline_using_subcommand show" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pipeline -n "__fish_pipeline_using_subcommand show" -l json -d 'Print JSON'
complete -c pipeline -n "__fish_pipeline_using_subcommand show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipeline -n "__fish_pipeline_using_subcommand show" -s V -l version -d 'Print version'
complete -c pipeline -n "__fish_pipeline_using_subcommand why" -l run -d 'The run, by name or id [default: the latest]' -r
complete -c pipeline -n "__fish_pipeline_using_subcommand why" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pipeline -n "__fish_pipeline_using_subcommand why" -l json -d 'Print JSON'
complete -c pipeline -n "__fish_pipeline_using_subcommand why" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipeline -n "__fish_pipeline_using_subcommand why" -s V -l version -d 'Print version'
complete -c pipeline -n "__fish_pipeline_using_subcommand diff" -l run -d 'The run, by name or id [default: the latest]' -r
complete -c pipeline -n "__fish_pipeline_using_subcommand diff" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pipeline -n "__fish_pipeline_using_subcommand diff" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipeline -n "__fish_pipeline_using_subcommand diff" -s V -l version -d 'Print version'
complete -c pipeline -n "__fish_pipeline_using_subcommand evicted" -l run -d 'The run, by name or id [default: the latest]' -r
complete -c pipeline -n "__fish_pipeline_using_subcommand evicted" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pipeline -n "__fish_pipeline_using_subcommand evicted" -l json -d 'Print JSON'
complete -c pipeline -n "__fish_pipeline_using_subcommand evicted" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipeline -n "__fish_pipeline_using_subcommand evicted" -s V -l version -d 'Print version'
complete -c pipeline -n "__fish_pipeline_using_subcommand resolve" -l run -d 'The run, by name or id [default: the latest]' -r
complete -c pipeline -n "__fish_pipeline_using_subcommand resolve" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pipeline -n "__fish_pipeline_using_subcommand resolve" -l done -d 'Take what was committed in its worktree and put the unit back in line'
complete -c pipeline -n "__fish_pipeline_using_subcommand resolve" -l abort -d 'Close its worktree and leave the unit evicted'
complete -c pipeline -n "__fish_pipeline_using_subcommand resolve" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipeline -n "__fish_pipeline_using_subcommand resolve" -s V -l version -d 'Print version'
complete -c pipeline -n "__fish_pipeline_using_subcommand retry" -s m -l message -d 'What to do differently; the author is told' -r
complete -c pipeline -n "__fish_pipeline_using_subcommand retry" -l run -d 'The run, by name or id [default: the latest]' -r
complete -c pipeline -n "__fish_pipeline_using_subcommand retry" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pipeline -n "__fish_pipeline_using_subcommand retry" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipeline -n "__fish_pipeline_using_subcommand retry" -s V -l version -d 'Print version'
complete -c pipeline -n "__fish_pipeline_using_subcommand discard" -l run -d 'The run, by name or id [default: the latest]' -r
complete -c pipeline -n "__fish_pipeline_using_subcommand discard" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pipeline -n "__fish_pipeline_using_subcommand discard" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipeline -n "__fish_pipeline_using_subcommand discard" -s V -l version -d 'Print version'
complete -c pipeline -n "__fish_pipeline_using_subcommand cancel" -l run -d 'The run, by name or id [default: the latest]' -r
complete -c pipeline -n "__fish_pipeline_using_subcommand cancel" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pipeline -n "__fish_pipeline_using_subcommand cancel" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipeline -n "__fish_pipeline_using_subcommand cancel" -s V -l version -d 'Print version'
complete -c pipeline -n "__fish_pipeline_using_subcommand pause" -l run -d 'The run, by name or id [default: the latest]' -r
complete -c pipeline -n "__fish_pipeline_using_subcommand pause" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pipeline -n "__fish_pipeline_using_subcommand pause" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipeline -n "__fish_pipeline_using_subcommand pause" -s V -l version -d 'Print version'
complete -c pipeline -n "__fish_pipeline_using_subcommand resume" -l run -d 'The run, by name or id [default: the latest]' -r
complete -c pipeline -n "__fish_pipeline_using_subcommand resume" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pipeline -n "__fish_pipeline_using_subcommand resume" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipeline -n "__fish_pipeline_using_subcommand resume" -s V -l version -d 'Print version'
complete -c pipeline -n "__fish_pipeline_using_subcommand approve" -l run -d 'The run, by name or id [default: the latest]' -r
complete -c pipeline -n "__fish_pipeline_using_subcommand approve" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pipeline -n "__fish_pipeline_using_subcommand approve" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipeline -n "__fish_pipeline_using_subcommand approve" -s V -l version -d 'Print version'
complete -c pipeline -n "__fish_pipeline_using_subcommand reject" -s m -l message -d 'Why; the author is told' -r
complete -c pipeline -n "__fish_pipeline_using_subcommand reject" -l run -d 'The run, by name or id [default: the latest]' -r
complete -c pipeline -n "__fish_pipeline_using_subcommand reject" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pipeline -n "__fish_pipeline_using_subcommand reject" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipeline -n "__fish_pipeline_using_subcommand reject" -s V -l version -d 'Print version'
complete -c pipeline -n "__fish_pipeline_using_subcommand clean" -l older-than -d 'Remove finished runs that another followed once they are this old [default: 30d]' -r
complete -c pipeline -n "__fish_pipeline_using_subcommand clean" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pipeline -n "__fish_pipeline_using_subcommand clean" -l dry-run -d 'Only show what would be removed'
complete -c pipeline -n "__fish_pipeline_using_subcommand clean" -l json -d 'Print JSON'
complete -c pipeline -n "__fish_pipeline_using_subcommand clean" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipeline -n "__fish_pipeline_using_subcommand clean" -s V -l version -d 'Print version'
complete -c pipeline -n "__fish_pipeline_using_subcommand doctor" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pipeline -n "__fish_pipeline_using_subcommand doctor" -l strict -d 'Compare every run\'s journal with git, checkouts, processes and the disk; no engine may be at work'
complete -c pipeline -n "__fish_pipeline_using_subcommand doctor" -l fix -d 'Remove what nobody owns, and rebuild runs whose state is lost or damaged from git'
complete -c pipeline -n "__fish_pipeline_using_subcommand doctor" -l json -d 'Print JSON'
complete -c pipeline -n "__fish_pipeline_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipeline -n "__fish_pipeline_using_subcommand doctor" -s V -l version -d 'Print version'
complete -c pipeline -n "__fish_pipeline_using_subcommand demo" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pipeline -n "__fish_pipeline_using_subcommand demo" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipeline -n "__fish_pipeline_using_subcommand demo" -s V -l version -d 'Print version'
complete -c pipeline -n "__fish_pipeline_using_subcommand completions" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pipeline -n "__fish_pipeline_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipeline -n "__fish_pipeline_using_subcommand completions" -s V -l version -d 'Print version'
complete -c pipeline -n "__fish_pipeline_using_subcommand __supervise" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pipeline -n "__fish_pipeline_using_subcommand __supervise" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipeline -n "__fish_pipeline_using_subcommand __supervise" -s V -l version -d 'Print version'
complete -c pipeline -n "__fish_pipeline_using_subcommand help; and not __fish_seen_subcommand_from init validate schema explain plan graph run runs status queue logs show why diff evicted resolve retry discard cancel pause resume approve reject clean doctor demo completions __supervise help" -f -a "init" -d 'Write a commented pipeline file for this repository'
complete -c pipeline -n "__fish_pipeline_using_subcommand help; and not __fish_seen_subcommand_from init validate schema explain plan graph run runs status queue logs show why diff evicted resolve retry discard cancel pause resume approve reject clean doctor demo completions __supervise help" -f -a "validate" -d 'Report every problem of pipeline files'
complete -c pipeline -n "__fish_pipeline_using_subcommand help; and not __fish_seen_subcommand_from init validate schema explain plan graph run runs status queue logs show why diff evicted resolve retry discard cancel pause resume approve reject clean doctor demo completions __supervise help" -f -a "schema" -d 'Print the JSON Schema of the pipeline file'
complete -c pipeline -n "__fish_pipeline_using_subcommand help; and not __fish_seen_subcommand_from init validate schema explain plan graph run runs status queue logs show why diff evicted resolve retry discard cancel pause resume approve reject clean doctor demo completions __supervise help" -f -a "explain" -d 'Tell more about a diagnostic or reason code'
complete -c pipeline -n "__fish_pipeline_using_subcommand help; and not __fish_seen_subcommand_from init validate schema explain plan graph run runs status queue logs show why diff evicted resolve retry discard cancel pause resume approve reject clean doctor demo completions __supervise help" -f -a "plan" -d 'Show what a run would do, and start nothing'
complete -c pipeline -n "__fish_pipeline_using_subcommand help; and not __fish_seen_subcommand_from init validate schema explain plan graph run runs status queue logs show why diff evicted resolve retry discard cancel pause resume approve reject clean doctor demo completions __supervise help" -f -a "graph" -d 'Draw the units and what they need'
complete -c pipeline -n "__fish_pipeline_using_subcommand help; and not __fish_seen_subcommand_from init validate schema explain plan graph run runs status queue logs show why diff evicted resolve retry discard cancel pause resume approve reject clean doctor demo completions __supervise help" -f -a "run" -d 'Run a pipeline file, or continue its run'
complete -c pipeline -n "__fish_pipeline_using_subcommand help; and not __fish_seen_subcommand_from init validate schema explain plan graph run runs status queue logs show why diff evicted resolve retry discard cancel pause resume approve reject clean doctor demo completions __supervise help" -f -a "runs" -d 'List the runs of this repository'
complete -c pipeline -n "__fish_pipeline_using_subcommand help; and not __fish_seen_subcommand_from init validate schema explain plan graph run runs status queue logs show why diff evicted resolve retry discard cancel pause resume approve reject clean doctor demo completions __supervise help" -f -a "status" -d 'Show where every unit is'
complete -c pipeline -n "__fish_pipeline_using_subcommand help; and not __fish_seen_subcommand_from init validate schema explain plan graph run runs status queue logs show why diff evicted resolve retry discard cancel pause resume approve reject clean doctor demo completions __supervise help" -f -a "queue" -d 'Show the merge queue, or change it by hand'
complete -c pipeline -n "__fish_pipeline_using_subcommand help; and not __fish_seen_subcommand_from init validate schema explain plan graph run runs status queue logs show why diff evicted resolve retry discard cancel pause resume approve reject clean doctor demo completions __supervise help" -f -a "logs" -d 'Print the output of a unit\'s attempts'
complete -c pipeline -n "__fish_pipeline_using_subcommand help; and not __fish_seen_subcommand_from init validate schema explain plan graph run runs status queue logs show why diff evicted resolve retry discard cancel pause resume approve reject clean doctor demo completions __supervise help" -f -a "show" -d 'Show everything about a unit'
complete -c pipeline -n "__fish_pipeline_using_subcommand help; and not __fish_seen_subcommand_from init validate schema explain plan graph run runs status queue logs show why diff evicted resolve retry discard cancel pause resume approve reject clean doctor demo completions __supervise help" -f -a "why" -d 'Tell why a unit is where it is, and what it waits for'
complete -c pipeline -n "__fish_pipeline_using_subcommand help; and not __fish_seen_subcommand_from init validate schema explain plan graph run runs status queue logs show why diff evicted resolve retry discard cancel pause resume approve reject clean doctor demo completions __supervise help" -f -a "diff" -d 'Show the change of a unit'
complete -c pipeline -n "__fish_pipeline_using_subcommand help; and not __fish_seen_subcommand_from init validate schema explain plan graph run runs status queue logs show why diff evicted resolve retry discard cancel pause resume approve reject clean doctor demo completions __supervise help" -f -a "evicted" -d 'List the units that need a person'
complete -c pipeline -n "__fish_pipeline_using_subcommand help; and not __fish_seen_subcommand_from init validate schema explain plan graph run runs status queue logs show why diff evicted resolve retry discard cancel pause resume approve reject clean doctor demo completions __supervise help" -f -a "resolve" -d 'Repair an evicted unit by hand'
complete -c pipeline -n "__fish_pipeline_using_subcommand help; and not __fish_seen_subcommand_from init validate schema explain plan graph run runs status queue logs show why diff evicted resolve retry discard cancel pause resume approve reject clean doctor demo completions __supervise help" -f -a "retry" -d 'Let a unit be done afresh'
complete -c pipeline -n "__fish_pipeline_using_subcommand help; and not __fish_seen_subcommand_from init validate schema explain plan graph run runs status queue logs show why diff evicted resolve retry discard cancel pause resume approve reject clean doctor demo completions __supervise help" -f -a "discard" -d 'Give a unit up'
complete -c pipeline -n "__fish_pipeline_using_subcommand help; and not __fish_seen_subcommand_from init validate schema explain plan graph run runs status queue logs show why diff evicted resolve retry discard cancel pause resume approve reject clean doctor demo completions __supervise help" -f -a "cancel" -d 'Take a unit out of the run'
complete -c pipeline -n "__fish_pipeline_using_subcommand help; and not __fish_seen_subcommand_from init validate schema explain plan graph run runs status queue logs show why diff evicted resolve retry discard cancel pause resume approve reject clean doctor demo completions __supervise help" -f -a "pause" -d 'Start and land nothing until the run is resumed'
complete -c pipeline -n "__fish_pipeline_using_subcommand help; and not __fish_seen_subcommand_from init validate schema explain plan graph run runs status queue logs show why diff evicted resolve retry discard cancel pause resume approve reject clean doctor demo completions __supervise help" -f -a "resume" -d 'Lift a pause'
complete -c pipeline -n "__fish_pipeline_using_subcommand help; and not __fish_seen_subcommand_from init validate schema explain plan graph run runs status queue logs show why diff evicted resolve retry discard cancel pause resume approve reject clean doctor demo completions __supervise help" -f -a "approve" -d 'Let a unit pass its gate'
complete -c pipeline -n "__fish_pipeline_using_subcommand help; and not __fish_seen_subcommand_from init validate schema explain plan graph run runs status queue logs show why diff evicted resolve retry discard cancel pause resume approve reject clean doctor demo completions __supervise help" -f -a "reject" -d 'Do not let a unit pass its gate'
complete -c pipeline -n "__fish_pipeline_using_subcommand help; and not __fish_seen_subcommand_from init validate schema explain plan graph run runs status queue logs show why diff evicted resolve retry discard cancel pause resume approve reject clean doctor demo completions __supervise help" -f -a "clean" -d 'Remove what no live unit owns'
complete -c pipeline -n "__fish_pipeline_using_subcommand help; and not __fish_seen_subcommand_from init validate schema explain plan graph run runs status queue logs show why diff evicted resolve retry discard cancel pause resume approve reject clean doctor demo completions __supervise help" -f -a "doctor" -d 'Check git, the agents and the repository\'s state'
complete -c pipeline -n "__fish_pipeline_using_subcommand help; and not __fish_seen_subcommand_from init validate schema explain plan graph run runs status queue logs show why diff evicted resolve retry discard cancel pause resume approve reject clean doctor demo completions __supervise help" -f -a "demo" -d 'Make a scratch repository and run a small pipeline in it'
complete -c pipeline -n "__fish_pipeline_using_subcommand help; and not __fish_seen_subcommand_from init validate schema explain plan graph run runs status queue logs show why diff evicted resolve retry discard cancel pause resume approve reject clean doctor demo completions __supervise help" -f -a "completions" -d 'Print completions for a shell'
complete -c pipeline -n "__fish_pipeline_using_subcommand help; and not __fish_seen_subcommand_from init validate schema explain plan graph run runs status queue logs show why diff evicted resolve retry discard cancel pause resume approve reject clean doctor demo completions __supervise help" -f -a "__supervise" -d 'Supervise one process; for the program\'s own use'
complete -c pipeline -n "__fish_pipeline_using_subcommand help; and not __fish_seen_subcommand_from init validate schema explain plan graph run runs status queue logs show why diff evicted resolve retry discard cancel pause resume approve reject clean doctor demo completions __supervise help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pipeline -n "__fish_pipeline_using_subcommand help; and __fish_seen_subcommand_from queue" -f -a "add" -d 'Bring a branch, a person\'s too, into the queue of a run'
complete -c pipeline -n "__fish_pipeline_using_subcommand help; and __fish_seen_subcommand_from queue" -f -a "top" -d 'Let a unit in the queue go next; what is being verified goes on'
complete -c pipeline -n "__fish_pipeline_using_subcommand help; and __fish_seen_subcommand_from queue" -f -a "freeze" -d 'Land nothing of a priority below a number, until the freeze is lifted'
