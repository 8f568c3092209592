{{- define "sidecar.name" -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "sidecar.selector" -}}
app.kubernetes.io/name: cy-llm-sidecar
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sidecar.labels" -}}
{{ include "sidecar.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "sidecar.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "sidecar.workerImage" -}}
{{- if .Values.standIn -}}
{{ include "sidecar.image" . }}
{{- else -}}
{{ required "worker.image.repository: the image of your worker; for a try without one: standIn=true" .Values.worker.image.repository }}:{{ .Values.worker.image.tag }}
{{- end -}}
{{- end -}}

{{- define "sidecar.drainSeconds" -}}
{{- $server := .Values.config.server | default dict -}}
{{- if hasKey $server "drain_timeout_secs" -}}{{ $server.drain_timeout_secs | ceil | int }}{{- else -}}30{{- end -}}
{{- end -}}

{{/* What a pod needs to go in good order. */}}
{{- define "sidecar.graceSeconds" -}}
{{- $least := add .Values.preStopSeconds (include "sidecar.drainSeconds" . | int) .Values.flushSeconds .Values.worker.stopSeconds -}}
{{- $grace := .Values.terminationGracePeriodSeconds -}}
{{- if kindIs "invalid" $grace -}}
{{ $least }}
{{- else if lt (int $grace) (int $least) -}}
{{- fail (printf "terminationGracePeriodSeconds: %d is too short: preStopSeconds + config.server.drain_timeout_secs + flushSeconds + worker.stopSeconds are %d; leave it out" (int $grace) (int $least)) -}}
{{- else -}}
{{ int $grace }}
{{- end -}}
{{- end -}}

{{/* Keys that other values set: two places for one thing would disagree. */}}
{{- define "sidecar.checkConfig" -}}
{{- $owners := dict "server.bind_addr" "ports.grpc" "server.worker_uds" "worker.socket" "server.tls_cert" "tls.secretName" "server.tls_key" "tls.secretName" "server.tls_client_ca" "tls.clientCa" "metering.journal_path" "journal" "observability.metrics_port" "ports.metrics" -}}
{{- range $section, $keys := .Values.config -}}
{{- range $key, $_ := $keys -}}
{{- $owner := get $owners (printf "%s.%s" $section $key) -}}
{{- if $owner -}}{{- fail (printf "config.%s.%s: is set by the value %s" $section $key $owner) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- range .Values.env -}}
{{- if eq .name "SIDECAR_DRAIN_TIMEOUT_SECS" -}}{{- fail "env SIDECAR_DRAIN_TIMEOUT_SECS: set config.server.drain_timeout_secs, from which the grace period follows" -}}{{- end -}}
{{- end -}}
{{- if eq (int .Values.worker.healthPort) (int .Values.ports.metrics) -}}{{- fail (printf "worker.healthPort: %d is ports.metrics, and containers of a pod share their ports" (int .Values.worker.healthPort)) -}}{{- end -}}
{{- end -}}
