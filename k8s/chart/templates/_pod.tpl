{{- /* Keys that a platform team may set for any pod; they are the same for each workload, and are in `pod` below. `path` is their
path in the values, `own` a list that the chart itself needs there. */ -}}

{{- define "streamfx.placement" -}}
{{- /* Placement and pull secrets of a pod of `component`. With `apart`, its pods are spread unless the values say otherwise. */ -}}
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
{{- /* The items of a list, as lines; empty if there are none. */ -}}
{{- if . }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{- define "streamfx.envFrom" -}}
{{- with .extraEnvFrom }}
envFrom: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "streamfx.initContainers" -}}
{{- /* The chart's own (text), then the user's. */ -}}
{{- $all := concat (.own | default "" | fromYamlArray | default list) (include "streamfx.secured" .pod.initContainers | fromYamlArray | default list) -}}
{{- if $all }}
initContainers: {{ toYaml $all | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "streamfx.secured" -}}
{{- /* Containers; each gets the restricted security context unless it brings its own. */ -}}
{{- $all := list -}}
{{- range . -}}
{{- $all = append $all (ternary . (set (deepCopy .) "securityContext" (include "streamfx.containerSecurity" $ | fromYaml)) (hasKey . "securityContext")) -}}
{{- end -}}
{{- if $all }}{{ toYaml $all }}{{ end -}}
{{- end -}}
