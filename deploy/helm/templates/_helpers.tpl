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

{{/* Settings as lines of TOML.  A whole number from YAML is a float in Helm. */}}
{{- define "polycall.settings" -}}
{{- range $name, $value := . }}
{{ $name }} = {{ if and (kindIs "float64" $value) (eq (floor $value) $value) }}{{ int64 $value }}{{ else }}{{ toJson $value }}{{ end }}
{{- end }}
{{- end -}}

{{/* polycall.toml.  A text of JSON is a text of TOML. */}}
{{- define "polycall.config" -}}
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
{{ range $name, $provider := .Values.providers }}
[providers.{{ $name }}]
{{- if $provider.secretKey }}
api_key = "env:{{ include "polycall.providerVariable" $name }}"
{{- end }}
{{- include "polycall.settings" $provider.settings }}
{{ end }}
{{- range $name, $route := .Values.models }}
[models.{{ toJson $name }}]
route = {{ toJson $route }}
{{ end }}
{{- range $number, $key := .Values.keys }}
[[keys]]
key = "env:{{ include "polycall.keyVariable" $number }}"
name = {{ toJson $key.name }}
{{- include "polycall.settings" $key.settings }}
{{ end }}
{{- with .Values.extraConfig }}
{{ . }}
{{- end }}
{{- end -}}
