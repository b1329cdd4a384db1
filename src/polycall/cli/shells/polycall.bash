# Completion of polycall in bash; made by `polycall completion bash`.
_polycall() {
    local current="${COMP_WORDS[COMP_CWORD]}" path="" option="" offered="" word i
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        word="${COMP_WORDS[i]}"
        # bash divides --option=value into three words.
        if [[ $word == "=" ]]; then continue; fi
        if [[ -n $option ]]; then option=""; continue; fi
        case "${path:+$path }$word" in
<<steps>>
            *) case "$path" in
                <<closed>>) [[ $word == -* ]] || path="another command" ;;
            esac ;;
        esac
    done
    if [[ $current == "=" ]]; then current=""; fi
    if [[ -n $option ]]; then
        case "${path:+$path }$option" in
<<values>>
        esac
    elif [[ $current == -* ]]; then
        case "$path" in
<<options>>
        esac
    else
        case "$path" in
<<words>>
            # Names of files as they are: `compgen -W` would run a $(...) in one.
            <<another>>)
                while IFS= read -r word; do
                    printf -v word %q "$word"; COMPREPLY+=("$word")
                done < <(compgen -c -- "$current") ;;
        esac
    fi
    # Nothing offered: bash completes the names of files.
    while IFS= read -r word; do COMPREPLY+=("$word"); done \
        < <([[ -z $offered ]] || compgen -W "$offered" -- "$current")
}
complete -o default -F _polycall polycall
