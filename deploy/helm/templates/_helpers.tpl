{{/* The name of every object: that of the release, once. */}}
{{- define "polycall.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "polycall.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "polycall.labels" -}}
{{ include "polycall.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* The environment variable of a provider's key: OPENAI_API_KEY. */}}
{{- define "polycall.providerVariable" -}}
{{- regexReplaceAll "[^A-Z0-9]" (upper .) "_" -}}_API_KEY
{{- end -}}

{{/* The environment variable of a client's key, by its number: POLYCALL_KEY_0. */}}
{{- define "polycall.keyVariable" -}}
POLYCALL_KEY_{{ . }}
{{- end -}}

{{/* A variable from the Secret. */}}
{{- define "polycall.fromSecret" -}}
- name: {{ .name }}
  valueFrom:
    secretKeyRef: {name: {{ .secret | quote }}, key: {{ .key | quote }}}
{{- end -}}

{{/* A value as TOML has it.  A text of JSON is one of TOML; a whole number from YAML is a float in Helm. */}}
{{- define "polycall.value" -}}
{{- if kindIs "map" . -}}
{ {{- $comma := "" }}{{ range $name, $value := . }}{{ $comma }} {{ toJson $name }} = {{ include "polycall.value" $value }}{{ $comma = "," }}{{ end }} }
{{- else if kindIs "slice" . -}}
[{{- range $number, $value := . }}{{ if $number }}, {{ end }}{{ include "polycall.value" $value }}{{ end }}]
{{- else if kindIs "invalid" . -}}
{{- fail "a setting is null; leave it out" -}}
{{- else if and (kindIs "float64" .) (eq (floor .) .) -}}
{{- int64 . -}}
{{- else -}}
{{- toJson . | replace "\u007f" "\\u007f" | replace "\u0085" "\\u0085" -}}
{{- end -}}
{{- end -}}

{{/* Settings as lines of TOML; the schema has what their names may be. */}}
{{- define "polycall.settings" -}}
{{- range $name, $value := . }}
{{- if kindIs "invalid" $value }}
{{- fail (printf "the setting %s is null; leave it out" $name) }}
{{- end }}
{{ $name }} = {{ include "polycall.value" $value }}
{{- end }}
{{- end -}}

{{/* Refuses secrets that are written out: a ConfigMap is no place for them. */}}
{{- define "polycall.checked" -}}
{{- $named := `(?i)["']?\b(api_keys?|key|secret|client_secret|password|token|authorization|x-api-key|cookie)["']?\s*=\s*(\[[^\]\n]*\]|"[^"\n]*"|'[^'\n]*')` -}}
{{- range $found := regexFindAll $named . -1 }}
{{- range regexFindAll `"[^"\n]*"|'[^'\n]*'` (regexReplaceAll `^[^=]*=` $found "") -1 }}
{{- if not (regexMatch `^["']((?i:bearer|basic) )?(env:|file:|cmd:|["']$)` .) }}
{{- fail (printf "%s is written out; put it into the Secret and name it: \"env:...\" or \"file:...\"" (regexFind `[\w-]+` $found)) }}
{{- end }}
{{- end }}
{{- end }}
{{- if regexMatch `://[^/@"'\s]*:[^/@"'\s]+@` . }}
{{- fail "an address has a password in it; put it into the Secret and name it: \"env:...\" or \"file:...\"" }}
{{- end }}
{{- . -}}
{{- end -}}

{{/* polycall.toml. */}}
{{- define "polycall.config" -}}
{{- include "polycall.checked" (include "polycall.unchecked" .) -}}
{{- end -}}

{{- define "polycall.unchecked" -}}
[server]
host = "0.0.0.0"
port = 8080
workers = {{ int .Values.server.workers }}
drain_s = {{ int .Values.server.drainSeconds }}
{{- include "polycall.settings" .Values.server.settings }}

[store]
url = "env:POLYCALL_STORE"
secret = "env:POLYCALL_SECRET"
{{- if .Values.store.countersKey }}
counters = "env:POLYCALL_COUNTERS"
{{- end }}
when_down = {{ .Values.store.whenDown | toJson }}
spool = "/var/lib/polycall"
{{- with int .Values.store.ledgerDays }}
ledger_days = {{ . }}
{{- end }}

[programs]
{{- if eq .Values.sandbox.tier "off" }}
enabled = false
{{- else }}
runtime = {{ .Values.sandbox.tier | toJson }}
{{- end }}
{{ $variables := dict }}
{{- range $name, $provider := .Values.providers }}
[providers.{{ $name }}]
{{- if $provider.secretKey }}
{{- $variable := include "polycall.providerVariable" $name }}
{{- if hasKey $variables $variable }}
{{- fail (printf "the providers %s and %s would share the variable %s; name one of them otherwise" (get $variables $variable) $name $variable) }}
{{- end }}
{{- $_ := set $variables $variable $name }}
api_key = "env:{{ $variable }}"
{{- end }}
{{- include "polycall.settings" $provider.settings }}
{{ end }}
{{- range $name, $route := .Values.models }}
[models.{{ include "polycall.value" $name }}]
route = {{ include "polycall.value" $route }}
{{ end }}
{{- range $number, $key := .Values.keys }}
[[keys]]
key = "env:{{ include "polycall.keyVariable" $number }}"
name = {{ include "polycall.value" $key.name }}
{{- include "polycall.settings" $key.settings }}
{{ end }}
{{- with .Values.extraConfig }}
{{ . }}
{{- end }}
{{- end -}}
