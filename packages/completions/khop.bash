# SPDX-License-Identifier: MIT
# bash completion for khop: verbs and options are what khop's own help says.
_khop() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} verb=${COMP_WORDS[1]}
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "$(khop help | sed -n '/^Subcommands:/,/^$/s/^  \([a-z-]*\) .*/\1/p')" -- "$cur"))
    return
  fi
  case $prev in
  --route) COMPREPLY=($(compgen -W 'auto in-place reserved gather kernel file' -- "$cur")) ;;
  --mmu) COMPREPLY=($(compgen -W 'auto on off' -- "$cur")) ;;
  --verify) COMPREPLY=($(compgen -W 'sha256 crc32c none early' -- "$cur")) ;;
  help) COMPREPLY=($(compgen -W 'exit-codes load exec last-check unload status plan inspect report doctor capture kexec' -- "$cur")) ;;
  *)
    if [[ $cur == -* ]]; then
      COMPREPLY=($(compgen -W "$(khop help "$verb" 2>/dev/null | grep -oE -- '(^|[ ,])--?[a-z-]+' | tr -d ' ,')" -- "$cur"))
    else
      COMPREPLY=($(compgen -f -- "$cur"))
    fi
    ;;
  esac
}
complete -o filenames -F _khop khop
