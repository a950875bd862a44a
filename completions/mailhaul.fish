function __mailhaul_complete
    set -l current (commandline -ct)
    set -l lines (command mailhaul __complete fish (commandline -opc) "$current" 2>/dev/null </dev/null)
    if test "$lines[1]" = files
        __fish_complete_path "$current"
    else if test (count $lines) -gt 1
        printf '%s\n' $lines[2..-1]
    end
end
complete -c mailhaul -f -k -a '(__mailhaul_complete)'
