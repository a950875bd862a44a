_mailhaul() {
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
