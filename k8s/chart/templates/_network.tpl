{{- /* A flow between two of the release's components (allowed at both ends), and one end of a flow to or from elsewhere. */ -}}

{{- define "streamfx.flow" -}}
{{- $peer := dict "podSelector" (dict "matchLabels" (include "streamfx.selector" (dict "root" .root "component" .to) | fromYaml)) }}
{{- include "streamfx.egress" (dict "root" .root "from" .from "flow" .to "ports" .ports "to" (list $peer)) }}
{{- $peer := dict "podSelector" (dict "matchLabels" (include "streamfx.selector" (dict "root" .root "component" .from) | fromYaml)) }}
{{- include "streamfx.ingress" (dict "root" .root "to" .to "flow" .from "ports" .ports "from" (list $peer)) }}
{{- end -}}

{{- define "streamfx.egress" }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "streamfx.name" .root }}-{{ .from }}-to-{{ .flow }}
  namespace: {{ .root.Release.Namespace }}
  labels: {{ include "streamfx.labels" (dict "root" .root "component" "network") | nindent 4 }}
spec:
  podSelector:
    matchLabels: {{ include "streamfx.selector" (dict "root" .root "component" .from) | nindent 6 }}
  policyTypes: [Egress]
  egress: {{ include "streamfx.rule" (dict "key" "to" "peers" .to "ports" .ports) | nindent 4 }}
{{- end -}}

{{- define "streamfx.ingress" }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "streamfx.name" .root }}-{{ .to }}-from-{{ .flow }}
  namespace: {{ .root.Release.Namespace }}
  labels: {{ include "streamfx.labels" (dict "root" .root "component" "network") | nindent 4 }}
spec:
  podSelector:
    matchLabels: {{ include "streamfx.selector" (dict "root" .root "component" .to) | nindent 6 }}
  policyTypes: [Ingress]
  ingress: {{ include "streamfx.rule" (dict "key" "from" "peers" .from "ports" .ports) | nindent 4 }}
{{- end -}}

{{- define "streamfx.rule" -}}
{{- $rule := dict }}
{{- if .peers }}{{ $_ := set $rule .key .peers }}{{ end }}
{{- $ports := list }}
{{- range .ports }}{{ $ports = append $ports (dict "protocol" "TCP" "port" (int .)) }}{{ end }}
{{- if $ports }}{{ $_ := set $rule "ports" $ports }}{{ end }}
{{- toYaml (list $rule) }}
{{- end -}}
