//! The scripts that make shells ask this program. They hand over what is typed as it is, and never evaluate an answer.

/// For bash, which inserts a candidate as it is: the program quotes it.
pub(super) const BASH: &str = r#"_mailhaul() {
    local kind=words line
    COMPREPLY=()
    {
        IFS= read -r kind
        while IFS= read -r line; do
            COMPREPLY+=("$line")
        done
    } < <(command mailhaul __complete bash "${COMP_LINE:0:COMP_POINT}" "$2" 2>/dev/null </dev/null)
    if [[ $kind != files ]]; then
        compopt +o default 2>/dev/null
    fi
    if [[ $kind == words-open ]]; then
        compopt -o nospace 2>/dev/null
    fi
    return 0
}
complete -o default -F _mailhaul mailhaul
"#;

/// For zsh: to be sourced, or put into a directory of `$fpath` as `_mailhaul`. `compadd` quotes what it inserts.
pub(super) const ZSH: &str = r#"#compdef mailhaul

_mailhaul() {
    local -a lines
    local kind
    lines=("${(@f)$(command mailhaul __complete zsh "${(@Q)words[1,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null </dev/null)}")
    kind=$lines[1]
    shift lines
    if [[ $kind == files ]]; then
        compset -P '*:'
        _files
        return
    fi
    (( $#lines )) || return 1
    if [[ $kind == words-open ]]; then
        compadd -S '' -- "${(@)lines}"
    else
        compadd -- "${(@)lines}"
    fi
}

if [ "$funcstack[1]" = "_mailhaul" ]; then
    _mailhaul "$@"
else
    compdef _mailhaul mailhaul
fi
"#;

/// For fish, which quotes what it inserts.
pub(super) const FISH: &str = r#"function __mailhaul_complete
    set -l current (commandline -ct)
    set -l lines (command mailhaul __complete fish (commandline -opc) "$current" 2>/dev/null </dev/null)
    if test "$lines[1]" = files
        __fish_complete_path "$current"
    else if test (count $lines) -gt 1
        printf '%s\n' $lines[2..-1]
    end
end
complete -c mailhaul -f -k -a '(__mailhaul_complete)'
"#;
