{{- /* Checks that the schema cannot make, because they compare two values, or values and pipeline. Each error is one line: path,
what is expected, what came, what to do. All errors are reported at once. */ -}}

{{- define "streamfx.checks" -}}
{{- include "streamfx.checkPurpose" . }}
{{- include "streamfx.checkImages" . }}
{{- include "streamfx.checkOverrides" . }}
{{- include "streamfx.checkStorage" . }}
{{- $run := dig "runtime" dict (.Values.overrides | default dict) | default dict }}
{{- if and (eq (include "streamfx.engine" .) "local") (or (gt (int ($run.workers | default 1)) 1) $run.scaling) }}
overrides.runtime: expected one worker with engine local, which runs in the supervisor's pod; got {{ ternary "scaling" (printf "workers %v" $run.workers) (not (empty $run.scaling)) }}. Leave it out, or set overrides.runtime.engine=ray
{{- end }}
{{- range $path, $pod := include "streamfx.workloads" . | fromYaml }}
{{- include "streamfx.checkPod" (dict "path" $path "pod" $pod) }}
{{- end }}
{{- range $key := list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" "app.kubernetes.io/version" "app.kubernetes.io/managed-by" "helm.sh/chart" }}
{{- if hasKey ($.Values.commonLabels | default dict) $key }}
commonLabels: expected labels of your own; got {{ $key }}, which the chart sets and selects by. Leave it out
{{- end }}
{{- end }}
{{- end -}}

{{- define "streamfx.workloads" -}}
{{- /* All values that become a pod or a container in this installation, by path. */ -}}
{{- $all := dict "supervisor" .Values.supervisor "test" .Values.test -}}
{{- if eq (include "streamfx.engine" .) "ray" -}}
{{- $_ := set $all "ray.head" .Values.ray.head -}}
{{- $_ := set $all "ray.worker" .Values.ray.worker -}}
{{- $_ := set $all "ray.autoscaler" .Values.ray.autoscaler -}}
{{- end -}}
{{- if eq (include "streamfx.backend" .) "triton" }}{{ $_ := set $all "triton" .Values.triton }}{{ end -}}
{{- range $i, $one := .Values.publishers }}{{ $_ := set $all (printf "publishers[%d]" $i) $one }}{{ end -}}
{{- if include "streamfx.maintained" . }}{{ $_ := set $all "maintenance" .Values.maintenance }}{{ end -}}
{{- toYaml $all -}}
{{- end -}}

{{- define "streamfx.checkPurpose" -}}
{{- $purpose := dig "privacy" "purpose" "" (include "streamfx.pipeline" . | fromYaml) | default "" | toString | trim -}}
{{- if or (not $purpose) (hasPrefix "state here" (lower $purpose)) }}
overrides.privacy.purpose: expected why this is done, in a sentence that may stand in every row; got {{ $purpose | quote }}, {{ ternary "the example's placeholder" "nothing" (ne $purpose "") }}. State yours: --set overrides.privacy.purpose='Queue lengths in shop 12' --set overrides.privacy.deployment_context=retail, or in the file that you give as pipeline
{{- end }}
{{- end -}}

{{- define "streamfx.checkImages" -}}
{{- $images := dict "image" .Values.image -}}
{{- $triton := .Values.triton -}}
{{- if eq (include "streamfx.backend" .) "triton" }}{{ $_ := set $images "triton.image" $triton.image }}{{ end -}}
{{- range $path, $image := $images }}
{{- $name := include "streamfx.imageName" (dict "root" $ "image" $image) }}
{{- if or (not (regexMatch "^([^/]*[.:][^/]*|localhost)/" $name)) (regexMatch "^(index\\.)?docker\\.io/streamfx/" $name) }}
{{ $path }}.repository: expected a name that begins with a registry's host, such as registry.example/streamfx/{{ base $name }}; got {{ $name }}, which would be pulled from docker.io, where it is not published. Build and push the images (docs/deploy.md, "Images") and set image.registry to where they are; localhost for images that were loaded into the nodes
{{- end }}
{{- end }}
{{- if hasKey $images "triton.image" }}
{{- if and (eq $triton.server "bundled") (gt (int $triton.gpus) 0) }}
triton.gpus: expected 0 with triton.server bundled, whose image has no CUDA; got {{ $triton.gpus }}. Build the image on a production Triton (docs/deploy.md) and set triton.server=tritonserver, or ask for no GPU
{{- end }}
{{- if and (eq $triton.server "tritonserver") (eq (regexReplaceAll "@.*$" ($triton.image.tag | default "") "") .Chart.AppVersion) }}
triton.image.tag: expected the image with tritonserver in it, {{ .Chart.AppVersion }}-tritonserver as k8s/images/build.sh names it; got {{ $triton.image.tag }}, the one without CUDA. Leave the tag empty, or give the other image's
{{- end }}
{{- end }}
{{- if and (eq (include "streamfx.engine" .) "ray") (gt (int .Values.ray.worker.gpus) 0) (eq (regexReplaceAll "@.*$" (.Values.image.tag | default "") "") .Chart.AppVersion) }}
image.tag: expected the image for GPUs, {{ .Chart.AppVersion }}-gpu as k8s/images/build.sh names it, since ray.worker.gpus is {{ .Values.ray.worker.gpus }}; got {{ .Values.image.tag }}, the one without CUDA. Leave the tag empty, or give the other image's
{{- end }}
{{- end -}}

{{- define "streamfx.checkStorage" -}}
{{- $storage := .Values.storage -}}
{{- if and (eq $storage.kind "pvc") (eq $storage.accessMode "ReadWriteOncePod") }}
{{- if and (eq (include "streamfx.engine" .) "ray") (gt (int (include "streamfx.workers" . | fromYaml).max) 1) }}
storage.accessMode: expected ReadWriteMany, or ReadWriteOnce on one node, since several workers write; got ReadWriteOncePod, which only one pod may mount. Change it, or run one worker
{{- end }}
{{- if include "streamfx.maintained" . }}
storage.accessMode: expected ReadWriteMany, or ReadWriteOnce on one node, since the pods of maintenance mount the dataset beside the workers; got ReadWriteOncePod. Change it, or switch maintenance off
{{- end }}
{{- end }}
{{- $days := dig "privacy" "retention_days" "" (include "streamfx.effective" . | fromYaml) -}}
{{- if and .Values.maintenance.retain.enabled (not .Values.maintenance.retain.olderThan) (not $days) }}
maintenance.retain.olderThan: expected an age such as 90d or 36h, past which rows are erased; got nothing. Say how long rows may be kept, here or in the pipeline's privacy.retention_days
{{- end }}
{{- if and .Values.maintenance.retain.olderThan $days }}
maintenance.retain.olderThan: expected nothing, since the pipeline's privacy.retention_days ({{ $days }}) says how long rows may be kept; got {{ .Values.maintenance.retain.olderThan }}. Leave one of them out
{{- end }}
{{- range $i, $one := .Values.publishers }}
{{- $read := dig "source" "kafka" "topic" "" (include "streamfx.pipeline" $ | fromYaml) }}
{{- if and .topic (ne .topic $read) (eq (include "streamfx.source" $) "kafka") }}
publishers[{{ $i }}].topic: expected {{ $read }}, the topic that this release's pipeline reads; got {{ .topic }}, so no worker would read it. Leave the topic out, or set overrides.source.kafka.topic={{ .topic }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "streamfx.checkOverrides" -}}
{{- $cluster := include "streamfx.cluster" . | fromYaml -}}
{{- /* Overrides that the chart itself follows are allowed; for the others, the value to set instead. */ -}}
{{- $followed := list "runtime.workers" "runtime.log_format" -}}
{{- $instead := dict
  "runtime.drain_s" "supervisor.drainSeconds" "runtime.worker_gpus" "ray.worker.gpus"
  "runtime.scaling.min_workers" "ray.worker.scaling.min" "runtime.scaling.max_workers" "ray.worker.scaling.max"
  "runtime.scaling.target_lag_s" "ray.worker.scaling.targetLagSeconds"
  "source.kafka.bootstrap" "kafka.bootstrap" "privacy.stream_id_key_file" "streamIdKey"
  "serving.triton.ca_file" "triton.tls.secretName" "dead_letter.encryption_key" "deadLetterKey"
  "sink.path" "storage.s3.url" "sink.s3.endpoint" "storage.s3.endpoint" "sink.s3.region" "storage.s3.region" -}}
{{- $leaves := include "streamfx.leaves" (dict "prefix" "" "tree" (.Values.overrides | default dict)) -}}
{{- range $path := $leaves | trim | splitList "\n" }}
{{- $ours := include "streamfx.found" (dict "tree" $cluster "path" $path) }}
{{- $given := include "streamfx.found" (dict "tree" $.Values.overrides "path" $path) }}
{{- if and (eq $path "sink.path") (eq $.Values.storage.kind "pvc") }}
{{- $place := dig "sink" "path" "" $.Values.overrides | toString }}
{{- $folder := clean (ternary $place (printf "/var/lib/streamfx/%s" $place) (hasPrefix "/" $place)) }}
{{- if or (not (hasPrefix "/var/lib/streamfx/" $folder)) (contains "://" $place) }}
overrides.sink.path: expected a folder below /var/lib/streamfx, where the claim is mounted; got {{ $given }}, which is lost with its pod. Name such a folder; for an object store storage.kind=s3 and storage.s3.url
{{- end }}
{{- else if and $ours (not (has $path $followed)) }}
overrides.{{ $path }}: expected to be left to the chart, which sets {{ $ours }} and builds pods, probes, Services and network policies on it; got {{ $given }}. {{ with get $instead $path }}Set {{ . }} in its place{{ else }}Take it out{{ end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "streamfx.leaves" -}}
{{- /* The dotted path of each leaf of a tree, one per line. */ -}}
{{- range $key, $value := .tree }}
{{- if and (kindIs "map" $value) $value }}
{{- include "streamfx.leaves" (dict "prefix" (printf "%s%s." $.prefix $key) "tree" $value) }}
{{- else }}
{{ $.prefix }}{{ $key }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "streamfx.found" -}}
{{- /* The value at a dotted path of a tree, as JSON; empty if there is none. */ -}}
{{- $here := .tree -}}
{{- $is := true -}}
{{- range splitList "." .path -}}
{{- $is = and $is (kindIs "map" $here) -}}
{{- if $is }}{{ $is = hasKey $here . }}{{ end -}}
{{- if $is }}{{ $here = get $here . }}{{ end -}}
{{- end -}}
{{- if $is }}{{ toJson $here }}{{ end -}}
{{- end -}}

{{- define "streamfx.checkPod" -}}
{{- $path := .path -}}
{{- with .pod.resources }}
{{- range $what, $least := .requests }}
{{- $most := get ($.pod.resources.limits | default dict) $what }}
{{- if $most }}
{{- if gt (include "streamfx.amount" $least | float64) (include "streamfx.amount" $most | float64) }}
{{ $path }}.resources.requests.{{ $what }}: expected at most its limit, {{ $most }}; got {{ $least }}. Lower the request or raise {{ $path }}.resources.limits.{{ $what }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- range $key, $_ := .pod.podLabels }}
{{- if or (hasPrefix "app.kubernetes.io/" $key) (hasPrefix "helm.sh/" $key) (hasPrefix "ray.io/" $key) }}
{{ $path }}.podLabels: expected labels of your own; got {{ $key }}, which the chart or an operator sets and selects by. Leave it out
{{- end }}
{{- end }}
{{- range .pod.extraEnv }}
{{- if has .name (include "streamfx.ownEnv" . | fromYamlArray) }}
{{ $path }}.extraEnv: expected variables that the chart does not set; got {{ .name }}. Leave it out
{{- end }}
{{- end }}
{{- range .pod.extraVolumes }}
{{- if has .name (list "tmp" "shm" "data" "pipeline" "stream-id" "dead-letter" "kafka" "tls" "triton-ca" "models" "ray-ca" "ray-tls" "ray-logs" "api-token") }}
{{ $path }}.extraVolumes: expected a name that the chart does not use; got {{ .name }}. Give it another name, here and in extraVolumeMounts
{{- end }}
{{- end }}
{{- range .pod.extraVolumeMounts }}
{{- if has (clean .mountPath) (list "/" "/tmp" "/tmp/ray" "/dev/shm" "/models" "/var/lib/streamfx" "/etc/streamfx" "/etc/streamfx/pipeline" "/etc/streamfx/stream-id" "/etc/streamfx/dead-letter" "/etc/streamfx/kafka" "/etc/streamfx/triton" "/etc/streamfx/ray-ca" "/etc/streamfx/ray-tls") }}
{{ $path }}.extraVolumeMounts: expected a place that the chart does not use; got {{ .mountPath }}. Mount it elsewhere
{{- end }}
{{- end }}
{{- end -}}

{{- define "streamfx.ownEnv" -}}
[HOME, OMP_NUM_THREADS, RAY_USAGE_STATS_ENABLED, RAY_USE_TLS, RAY_TLS_SERVER_CERT, RAY_TLS_SERVER_KEY, RAY_TLS_CA_CERT, RAY_AUTH_MODE,
RAY_AUTH_TOKEN, RAY_CLIENT_RECONNECT_GRACE_PERIOD, GRPC_ENABLE_FORK_SUPPORT, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
STREAMFX_MODEL_EXPRESSION, STREAMFX_PRECISION, STREAMFX_PUBLISH_INPUT]
{{- end -}}

{{- define "streamfx.amount" -}}
{{- /* A Kubernetes quantity as a number of base units. */ -}}
{{- if kindIs "string" . -}}
{{- $unit := regexFind "[a-zA-Z]+$" . -}}
{{- $units := dict "" 1.0 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 -}}
{{- printf "%f" (mulf (trimSuffix $unit . | float64) (get $units $unit)) -}}
{{- else -}}
{{- printf "%f" (float64 .) -}}
{{- end -}}
{{- end -}}
