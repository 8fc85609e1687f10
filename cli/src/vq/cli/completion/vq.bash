# Completion of vq in bash. Load it with: eval "$(vq --show-completion)"
_vq_completion() {
    local line
    COMPREPLY=()
    while IFS= read -r line; do
        COMPREPLY+=("$line")
    done < <(_VQ_COMPLETE=complete_bash _VQ_LINE="${COMP_LINE:0:COMP_POINT}" \
        _VQ_BREAKS="$COMP_WORDBREAKS" "$1" </dev/null 2>/dev/null)
    # more follows a folder, a key path or an option with its equals sign
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[/=.:,] ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
complete -F _vq_completion vq
