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
complete -c mailhaul -n "__fish_mailhaul_using_subcommand list" -l uid -d 'Only these UIDs (POP3 and local places: message numbers), as in 17,20:40,100:*; - reads them from standard input' -r
complete -c mailhaul -n "__fish_mailhaul_using_subcommand list" -l limit -d 'Only the newest N of them (of each place, where several are named)' -r
complete -c mailhaul -n "__fish_mailhaul_using_subcommand list" -l fields -d 'Only these fields of each row, in this order: place, folder, uidvalidity, uid, number, uidl, size, flags, internal_date, date, from, to, cc, subject, message_id' -r
complete -c mailhaul -n "__fish_mailhaul_using_subcommand list" -s o -l output -d 'How to write the result; a table on a terminal, else tsv' -r -f -a "table\t'Columns for people'
json\t'One JSON document'
jsonl\t'One JSON object a line, as they arrive'
tsv\t'Tab-separated whole values'"
complete -c mailhaul -n "__fish_mailhaul_using_subcommand list" -l password-command -d 'Take the password from the first line this program prints. One string, split at blanks; \'…\' and "…" group. No shell' -r
complete -c mailhaul -n "__fish_mailhaul_using_subcommand list" -l password-file -d 'Take the password from the first line of FILE, which only its owner may be able to read' -r -F
complete -c mailhaul -n "__fish_mailhaul_using_subcommand list" -l password-env -d 'Take the password from the environment variable VAR; programs started from here do not inherit it' -r
complete -c mailhaul -n "__fish_mailhaul_using_subcommand list" -l token-command -d 'Take an OAuth 2.0 access token from the first line this program prints (split like --password-command)' -r
complete -c mailhaul -n "__fish_mailhaul_using_subcommand list" -l ca-file -d 'Trust the certificate authorities in this PEM file too' -r -F
complete -c mailhaul -n "__fish_mailhaul_using_subcommand list" -l tls-pin -d 'Accept only the certificate with this SHA-256, and that one without further checks' -r
complete -c mailhaul -n "__fish_mailhaul_using_subcommand list" -l config -d 'Read this config file instead of mailhaul/config.toml in $XDG_CONFIG_HOME or ~/.config [env: MAILHAUL_CONFIG]' -r -F
complete -c mailhaul -n "__fish_mailhaul_using_subcommand list" -l trace -d 'Write the protocol dialogue to FILE, without credentials and message bodies' -r -F
complete -c mailhaul -n "__fish_mailhaul_using_subcommand list" -l color -d 'When to use colour; NO_COLOR is obeyed' -r -f -a "auto\t'On a terminal'
always\t'Always'
never\t'Never'"
complete -c mailhaul -n "__fish_mailhaul_using_subcommand list" -l progress -d 'When to show progress on standard error; json prints a line per step for programs' -r -f -a "auto\t'Bars, on a terminal'
always\t'Also where standard error is no terminal'
never\t'Not at all'
json\t'A JSON object per line'"
complete -c mailhaul -n "__fish_mailhaul_using_subcommand list" -l json -d 'The same as -o json'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand list" -l netrc -d 'Take the password from ~/.netrc (or $NETRC), and fail if it has none'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand list" -l insecure -d 'Do not check the server\'s certificate at all; warned about at every run'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand list" -l allow-plaintext -d 'Let ?tls=none go to a host that is not this machine'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand list" -l allow-preauth -d 'Accept a server that says over TLS that it knows us already (PREAUTH)'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand list" -s q -l quiet -d 'Say nothing but errors'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand list" -s v -l verbose -d 'Say more; twice for still more'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand list" -l no-input -d 'Never ask for anything, as when standard input is not a terminal'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand list" -s V -l version -d 'Print version'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand fetch" -l uid -d 'Only these UIDs (POP3 and local places: message numbers), as in 17,20:40,100:*; - reads them from standard input' -r
complete -c mailhaul -n "__fish_mailhaul_using_subcommand fetch" -l limit -d 'Only the newest N of them (of each place, where several are named)' -r
complete -c mailhaul -n "__fish_mailhaul_using_subcommand fetch" -l to -d 'Write the messages as files below DIR (all of them, where none are selected) instead of one to standard output' -r -f -a "(__fish_complete_directories)"
complete -c mailhaul -n "__fish_mailhaul_using_subcommand fetch" -l format -d 'What --to makes: eml (the default), a file UID.eml each; or maildir' -r -f -a "eml\t'One file a message'
maildir\t'A Maildir, with flags'"
complete -c mailhaul -n "__fish_mailhaul_using_subcommand fetch" -s o -l output -d 'How to write the result; a table on a terminal, else tsv' -r -f -a "table\t'Columns for people'
json\t'One JSON document'
jsonl\t'One JSON object a line, as they arrive'
tsv\t'Tab-separated whole values'"
complete -c mailhaul -n "__fish_mailhaul_using_subcommand fetch" -l password-command -d 'Take the password from the first line this program prints. One string, split at blanks; \'…\' and "…" group. No shell' -r
complete -c mailhaul -n "__fish_mailhaul_using_subcommand fetch" -l password-file -d 'Take the password from the first line of FILE, which only its owner may be able to read' -r -F
complete -c mailhaul -n "__fish_mailhaul_using_subcommand fetch" -l password-env -d 'Take the password from the environment variable VAR; programs started from here do not inherit it' -r
complete -c mailhaul -n "__fish_mailhaul_using_subcommand fetch" -l token-command -d 'Take an OAuth 2.0 access token from the first line this program prints (split like --password-command)' -r
complete -c mailhaul -n "__fish_mailhaul_using_subcommand fetch" -l ca-file -d 'Trust the certificate authorities in this PEM file too' -r -F
complete -c mailhaul -n "__fish_mailhaul_using_subcommand fetch" -l tls-pin -d 'Accept only the certificate with this SHA-256, and that one without further checks' -r
complete -c mailhaul -n "__fish_mailhaul_using_subcommand fetch" -l config -d 'Read this config file instead of mailhaul/config.toml in $XDG_CONFIG_HOME or ~/.config [env: MAILHAUL_CONFIG]' -r -F
complete -c mailhaul -n "__fish_mailhaul_using_subcommand fetch" -l trace -d 'Write the protocol dialogue to FILE, without credentials and message bodies' -r -F
complete -c mailhaul -n "__fish_mailhaul_using_subcommand fetch" -l color -d 'When to use colour; NO_COLOR is obeyed' -r -f -a "auto\t'On a terminal'
always\t'Always'
never\t'Never'"
complete -c mailhaul -n "__fish_mailhaul_using_subcommand fetch" -l progress -d 'When to show progress on standard error; json prints a line per step for programs' -r -f -a "auto\t'Bars, on a terminal'
always\t'Also where standard error is no terminal'
never\t'Not at all'
json\t'A JSON object per line'"
complete -c mailhaul -n "__fish_mailhaul_using_subcommand fetch" -l json -d 'The same as -o json'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand fetch" -l netrc -d 'Take the password from ~/.netrc (or $NETRC), and fail if it has none'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand fetch" -l insecure -d 'Do not check the server\'s certificate at all; warned about at every run'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand fetch" -l allow-plaintext -d 'Let ?tls=none go to a host that is not this machine'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand fetch" -l allow-preauth -d 'Accept a server that says over TLS that it knows us already (PREAUTH)'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand fetch" -s q -l quiet -d 'Say nothing but errors'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand fetch" -s v -l verbose -d 'Say more; twice for still more'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand fetch" -l no-input -d 'Never ask for anything, as when standard input is not a terminal'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand fetch" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand fetch" -s V -l version -d 'Print version'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand migrate" -l seen -d 'What of a source without flags (POP3, eml) counts as read: all, none, or older-than:AGE (as in older-than:30d)' -r
complete -c mailhaul -n "__fish_mailhaul_using_subcommand migrate" -l date-from -d 'Where the date of a message comes from when its source keeps none (POP3)' -r -f -a "received\t'The topmost Received field, else Date, else now'
date\t'The Date field, else now'
now\t'Now'"
complete -c mailhaul -n "__fish_mailhaul_using_subcommand migrate" -l settle -d 'How long a message whose answer got lost is looked for before it counts as not arrived: servers may store late' -r
complete -c mailhaul -n "__fish_mailhaul_using_subcommand migrate" -l state -d 'Keep the journal in DIR instead of $XDG_STATE_HOME/mailhaul' -r -f -a "(__fish_complete_directories)"
complete -c mailhaul -n "__fish_mailhaul_using_subcommand migrate" -s o -l output -d 'How to write the result; a table on a terminal, else tsv' -r -f -a "table\t'Columns for people'
json\t'One JSON document'
jsonl\t'One JSON object a line, as they arrive'
tsv\t'Tab-separated whole values'"
complete -c mailhaul -n "__fish_mailhaul_using_subcommand migrate" -l from-password-command -d 'Take the source\'s password from the first line this program prints. One string, split at blanks; \'…\' and "…" group. No shell' -r
complete -c mailhaul -n "__fish_mailhaul_using_subcommand migrate" -l from-password-file -d 'Take the source\'s password from the first line of FILE, which only its owner may be able to read' -r -F
complete -c mailhaul -n "__fish_mailhaul_using_subcommand migrate" -l from-password-env -d 'Take the source\'s password from the environment variable VAR; programs started from here do not inherit it' -r
complete -c mailhaul -n "__fish_mailhaul_using_subcommand migrate" -l from-token-command -d 'Take the source\'s OAuth 2.0 access token from the first line this program prints' -r
complete -c mailhaul -n "__fish_mailhaul_using_subcommand migrate" -l from-ca-file -d 'Trust the certificate authorities in this PEM file too, for the source' -r -F
complete -c mailhaul -n "__fish_mailhaul_using_subcommand migrate" -l from-tls-pin -d 'Accept only the certificate with this SHA-256 at the source, and that one without further checks' -r
complete -c mailhaul -n "__fish_mailhaul_using_subcommand migrate" -l to-password-command -d 'Take the destination\'s password from the first line this program prints (split like --from-password-command)' -r
complete -c mailhaul -n "__fish_mailhaul_using_subcommand migrate" -l to-password-file -d 'Take the destination\'s password from the first line of FILE, which only its owner may be able to read' -r -F
complete -c mailhaul -n "__fish_mailhaul_using_subcommand migrate" -l to-password-env -d 'Take the destination\'s password from the environment variable VAR; programs started from here do not inherit it' -r
complete -c mailhaul -n "__fish_mailhaul_using_subcommand migrate" -l to-token-command -d 'Take the destination\'s OAuth 2.0 access token from the first line this program prints' -r
complete -c mailhaul -n "__fish_mailhaul_using_subcommand migrate" -l to-ca-file -d 'Trust the certificate authorities in this PEM file too, for the destination' -r -F
complete -c mailhaul -n "__fish_mailhaul_using_subcommand migrate" -l to-tls-pin -d 'Accept only the certificate with this SHA-256 at the destination, and that one without further checks' -r
complete -c mailhaul -n "__fish_mailhaul_using_subcommand migrate" -l ca-file -d 'Trust the certificate authorities in this PEM file too, for both places' -r -F
complete -c mailhaul -n "__fish_mailhaul_using_subcommand migrate" -l config -d 'Read this config file instead of mailhaul/config.toml in $XDG_CONFIG_HOME or ~/.config [env: MAILHAUL_CONFIG]' -r -F
complete -c mailhaul -n "__fish_mailhaul_using_subcommand migrate" -l trace -d 'Write the protocol dialogue to FILE, without credentials and message bodies' -r -F
complete -c mailhaul -n "__fish_mailhaul_using_subcommand migrate" -l color -d 'When to use colour; NO_COLOR is obeyed' -r -f -a "auto\t'On a terminal'
always\t'Always'
never\t'Never'"
complete -c mailhaul -n "__fish_mailhaul_using_subcommand migrate" -l progress -d 'When to show progress on standard error; json prints a line per step for programs' -r -f -a "auto\t'Bars, on a terminal'
always\t'Also where standard error is no terminal'
never\t'Not at all'
json\t'A JSON object per line'"
complete -c mailhaul -n "__fish_mailhaul_using_subcommand migrate" -l dry-run -d 'Say what would be copied, by count and by message, and change nothing'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand migrate" -l json -d 'The same as -o json'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand migrate" -l from-netrc -d 'Take the source\'s password from ~/.netrc (or $NETRC), and fail if it has none'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand migrate" -l from-insecure -d 'Do not check the source\'s certificate at all; warned about at every run'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand migrate" -l to-netrc -d 'Take the destination\'s password from ~/.netrc (or $NETRC), and fail if it has none'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand migrate" -l to-insecure -d 'Do not check the destination\'s certificate at all; warned about at every run'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand migrate" -l allow-plaintext -d 'Let ?tls=none go to a host that is not this machine'
complete -c mailhaul -n "__fish_mailhaul_using_subcommand migrate" -l allow-preauth -d 'Accept a server that says over TLS that it knows us already (PREAUTH)'
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
