# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_mailhaul_global_optspecs
    string join \n config= q/quiet v/verbose trace= color= progress= no-input h/help V/version
end

function __fish_mailhaul_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_mailhaul_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_mailhaul_using_subcommand
    set -l cmd (__fish_mailhaul_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c mailhaul -n "__fish_mailhaul_needs_command" -l config -d 'Read this config file instead of mailhaul/config.toml in $XDG_CONFIG_HOME or ~/.config [env: MAILHAUL_CONFIG]' -r -F
complete -c mailhaul -n "__fish_mailhaul_needs_command" -l trace -d 'Write the protocol dialogue to FILE, without credentials and message bodies' -r -F
complete -c mailhaul -n "__fish_mailhaul_needs_command" -l color -d 'When to use colour; NO_COLOR is obeyed' -r -f -a "auto\t'On a terminal'
always\t'Always'
never\t'Never'"
complete -c mailhaul -n "__fish_mailhaul_needs_command" -l progress -d 'When to show progress on standard error; json prints a line per step for programs' -r -f -a "auto\t'Bars, on a terminal'
always\t'Also where standard error is no terminal'
never\t'Not at all'
json\t'A JSON object per line'"
complete -c mailhaul -n "__fish_mailhaul_needs_command" -s q -l quiet -d 'Say nothing but errors'
complete -c mailhaul -n "__fish_mailhaul_needs_command" -s v -l verbose -d 'Say more; twice for still more'
complete -c mailhaul -n "__fish_mailhaul_needs_command" -l no-input -d 'Never ask for anything, as when standard input is not a terminal'
complete -c mailhaul -n "__fish_mailhaul_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mailhaul -n "__fish_mailhaul_needs_command" -s V -l version -d 'Print version'
complete -c mailhaul -n "__fish_mailhaul_needs_command" -f -a "list" -d 'List messages, one row each'
complete -c mailhaul -n "__fish_mailhaul_needs_command" -f -a "fetch" -d 'Get messages themselves, byte for byte'
complete -c mailhaul -n "__fish_mailhaul_needs_command" -f -a "migrate" -d 'Copy a whole account or store to another; run again at any time to go on'
complete -c mailhaul -n "__fish_mailhaul_needs_command" -f -a "completions" -d 'Print a completion script for a shell'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand list" -l config -d 'Read this config file instead of mailhaul/config.toml in $XDG_CONFIG_HOME or ~/.config [env: MAILHAUL_CONFIG]' -r -F
complete -c mailhaul -n "__fish_mailhaul_using_subcommand list" -l trace -d 'Write the protocol dialogue to FILE, without credentials and message bodies' -r -F
complete -c mailhaul -n "__fish_mailhaul_using_subcommand list" -l color -d 'When to use colour; NO_COLOR is obeyed' -r -f -a "auto\t'On a terminal'
always\t'Always'
never\t'Never'"
complete -c mailhaul -n "__fish_mailhaul_using_subcommand list" -l progress -d 'When to show progress on standard error; json prints a line per step for programs' -r -f -a "auto\t'Bars, on a terminal'
always\t'Also where standard error is no terminal'
never\t'Not at all'
json\t'A JSON object per line'"
complete -c mailhaul -n "__fish_mailhaul_using_subcommand list" -s q -l quiet -d 'Say nothing but errors'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand list" -s v -l verbose -d 'Say more; twice for still more'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand list" -l no-input -d 'Never ask for anything, as when standard input is not a terminal'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand list" -s V -l version -d 'Print version'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand fetch" -l config -d 'Read this config file instead of mailhaul/config.toml in $XDG_CONFIG_HOME or ~/.config [env: MAILHAUL_CONFIG]' -r -F
complete -c mailhaul -n "__fish_mailhaul_using_subcommand fetch" -l trace -d 'Write the protocol dialogue to FILE, without credentials and message bodies' -r -F
complete -c mailhaul -n "__fish_mailhaul_using_subcommand fetch" -l color -d 'When to use colour; NO_COLOR is obeyed' -r -f -a "auto\t'On a terminal'
always\t'Always'
never\t'Never'"
complete -c mailhaul -n "__fish_mailhaul_using_subcommand fetch" -l progress -d 'When to show progress on standard error; json prints a line per step for programs' -r -f -a "auto\t'Bars, on a terminal'
always\t'Also where standard error is no terminal'
never\t'Not at all'
json\t'A JSON object per line'"
complete -c mailhaul -n "__fish_mailhaul_using_subcommand fetch" -s q -l quiet -d 'Say nothing but errors'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand fetch" -s v -l verbose -d 'Say more; twice for still more'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand fetch" -l no-input -d 'Never ask for anything, as when standard input is not a terminal'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand fetch" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand fetch" -s V -l version -d 'Print version'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand migrate" -l config -d 'Read this config file instead of mailhaul/config.toml in $XDG_CONFIG_HOME or ~/.config [env: MAILHAUL_CONFIG]' -r -F
complete -c mailhaul -n "__fish_mailhaul_using_subcommand migrate" -l trace -d 'Write the protocol dialogue to FILE, without credentials and message bodies' -r -F
complete -c mailhaul -n "__fish_mailhaul_using_subcommand migrate" -l color -d 'When to use colour; NO_COLOR is obeyed' -r -f -a "auto\t'On a terminal'
always\t'Always'
never\t'Never'"
complete -c mailhaul -n "__fish_mailhaul_using_subcommand migrate" -l progress -d 'When to show progress on standard error; json prints a line per step for programs' -r -f -a "auto\t'Bars, on a terminal'
always\t'Also where standard error is no terminal'
never\t'Not at all'
json\t'A JSON object per line'"
complete -c mailhaul -n "__fish_mailhaul_using_subcommand migrate" -s q -l quiet -d 'Say nothing but errors'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand migrate" -s v -l verbose -d 'Say more; twice for still more'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand migrate" -l no-input -d 'Never ask for anything, as when standard input is not a terminal'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand migrate" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand migrate" -s V -l version -d 'Print version'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand completions" -l config -d 'Read this config file instead of mailhaul/config.toml in $XDG_CONFIG_HOME or ~/.config [env: MAILHAUL_CONFIG]' -r -F
complete -c mailhaul -n "__fish_mailhaul_using_subcommand completions" -l trace -d 'Write the protocol dialogue to FILE, without credentials and message bodies' -r -F
complete -c mailhaul -n "__fish_mailhaul_using_subcommand completions" -l color -d 'When to use colour; NO_COLOR is obeyed' -r -f -a "auto\t'On a terminal'
always\t'Always'
never\t'Never'"
complete -c mailhaul -n "__fish_mailhaul_using_subcommand completions" -l progress -d 'When to show progress on standard error; json prints a line per step for programs' -r -f -a "auto\t'Bars, on a terminal'
always\t'Also where standard error is no terminal'
never\t'Not at all'
json\t'A JSON object per line'"
complete -c mailhaul -n "__fish_mailhaul_using_subcommand completions" -s q -l quiet -d 'Say nothing but errors'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand completions" -s v -l verbose -d 'Say more; twice for still more'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand completions" -l no-input -d 'Never ask for anything, as when standard input is not a terminal'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand completions" -s V -l version -d 'Print version'
