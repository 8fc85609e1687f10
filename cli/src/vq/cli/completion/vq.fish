# Completion of vq in fish. Load it with: vq --show-completion | source
function __vq_completion
    set -l words (commandline -opc)
    set -lx _VQ_COMPLETE complete_fish
    set -lx _VQ_WORDS (string join \n -- $words[2..-1] | string collect)
    set -lx _VQ_TYPED (commandline -ct | string unescape)
    $words[1] </dev/null 2>/dev/null
end
complete --command vq --no-files --arguments '(__vq_completion)'
