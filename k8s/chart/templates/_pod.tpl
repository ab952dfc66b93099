{{- /* What a platform team may say of any pod: the same keys for each workload, `pod` below. `path` is where they stand in the
values, `own` a list that the chart needs there itself. */ -}}

{{- define "streamfx.placement" -}}
{{- /* Where a pod of `component` may run, and what it may pull. `apart`: its pods are spread where the values say nothing. */ -}}
{{- $spec := dict -}}
{{- range $key := list "priorityClassName" "runtimeClassName" "nodeSelector" "tolerations" "affinity" -}}
{{- with get $.pod $key }}{{ $_ := set $spec $key . }}{{ end -}}
{{- end -}}
{{- with .root.Values.image.pullSecrets -}}
{{- $names := list -}}
{{- range . }}{{ $names = append $names (dict "name" .) }}{{ end -}}
{{- $_ := set $spec "imagePullSecrets" $names -}}
{{- end -}}
{{- $selector := dict "matchLabels" (include "streamfx.selector" . | fromYaml) -}}
{{- $spread := list -}}
{{- range .pod.topologySpreadConstraints -}}
{{- $spread = append $spread (mustMerge (deepCopy .) (dict "labelSelector" (ternary (.labelSelector | default dict) $selector (hasKey . "labelSelector")))) -}}
{{- end -}}
{{- if and .apart (not $spread) }}{{ $spread = include "streamfx.spread" . | fromYamlArray }}{{ end -}}
{{- if $spread }}{{ $_ := set $spec "topologySpreadConstraints" $spread }}{{ end -}}
{{- if $spec }}{{ toYaml $spec }}{{ end -}}
{{- end -}}

{{- define "streamfx.podMetadata" -}}
{{- $labels := mustMerge (include "streamfx.labels" . | fromYaml) (deepCopy (.pod.podLabels | default dict)) -}}
{{- $annotations := mustMerge (deepCopy (.own | default dict)) (deepCopy (.pod.podAnnotations | default dict)) -}}
labels: {{ toYaml $labels | nindent 2 }}
{{- if $annotations }}
annotations: {{ toYaml $annotations | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "streamfx.more" -}}
{{- /* The items of a list, as lines; nothing where there are none. */ -}}
{{- if . }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{- define "streamfx.envFrom" -}}
{{- with .extraEnvFrom }}
envFrom: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "streamfx.initContainers" -}}
{{- /* The chart's own (text), then the team's. */ -}}
{{- $all := concat (.own | default "" | fromYamlArray | default list) (include "streamfx.secured" .pod.initContainers | fromYamlArray | default list) -}}
{{- if $all }}
initContainers: {{ toYaml $all | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "streamfx.secured" -}}
{{- /* Containers, each with the restricted standard where it says nothing of its own. */ -}}
{{- $all := list -}}
{{- range . -}}
{{- $all = append $all (ternary . (set (deepCopy .) "securityContext" (include "streamfx.containerSecurity" $ | fromYaml)) (hasKey . "securityContext")) -}}
{{- end -}}
{{- if $all }}{{ toYaml $all }}{{ end -}}
{{- end -}}
