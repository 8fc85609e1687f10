#compdef vq
# Completion of vq in zsh. Load it after compinit with: eval "$(vq --show-completion)"
_vq_completion() {
    local line text about
    local -a typed whole more whole_about more_about
    typed=("${(@Q)words[2,CURRENT-1]}")
    while IFS= read -r line; do
        text=${line%%$'\t'*}
        about=${line#*$'\t'}
        # more follows a folder, a key path or an option with its equals sign
        if [[ $text == *[/=.:,] ]]; then
            more+=("$text")
            more_about+=("$text${about:+  -- $about}")
        else
            whole+=("$text")
            whole_about+=("$text${about:+  -- $about}")
        fi
    done < <(_VQ_COMPLETE=complete_zsh _VQ_WORDS="${(pj:\n:)typed}" _VQ_TYPED="${(Q)PREFIX}" \
        "${(Q)words[1]}" </dev/null 2>/dev/null)
    (( $#whole + $#more )) || return 1
    (( $#whole )) && compadd -l -d whole_about -a whole
    (( $#more )) && compadd -l -S '' -d more_about -a more
    return 0
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _vq_completion "$@"
else
    compdef _vq_completion vq
fi
