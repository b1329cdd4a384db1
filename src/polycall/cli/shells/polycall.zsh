#compdef polycall
# Completion of polycall in zsh; made by `polycall completion zsh`.
_polycall() {
    local at="" option="" word
    local -a offered
    integer i
    for ((i = 2; i < CURRENT; i++)); do
        word="${words[i]}"
        if [[ -n $option ]]; then option=""; continue; fi
        case "${at:+$at }$word" in
<<steps>>
            (*) case "$at" in
                (<<another>>)
                    if [[ $word != -* ]]; then
                        shift $((i - 1)) words; ((CURRENT -= i - 1))
                        _normal; return
                    fi ;;
            esac ;;
        esac
    done
    if [[ -n $option ]]; then
        case "${at:+$at }$option" in
<<values>>
            (*) _files; return ;;
        esac
        _describe value offered
    elif [[ $PREFIX == -* ]]; then
        case "$at" in
<<options>>
        esac
        _describe -o option offered
    else
        case "$at" in
<<words>>
            (<<another>>) _command_names; return ;;
            (*) _files; return ;;
        esac
        _describe command offered
    fi
}
if [[ "${funcstack[1]}" == _polycall ]]; then
    _polycall "$@"
else
    compdef _polycall polycall
fi
