{{- /* Names, labels, security settings and the parts of pods that several objects share. */ -}}

{{- define "streamfx.name" -}}
{{- /* Names of Services and RayClusters must begin with a letter and have no dots, and KubeRay adds suffixes and cuts names at 50
characters. The name of a release may break these rules; then a part of it and a digest are used, so that names stay unique. */ -}}
{{- if and (le (len .Release.Name) 32) (regexMatch "^[a-z][-a-z0-9]*$" .Release.Name) -}}
{{- .Release.Name -}}
{{- else -}}
{{- $part := regexReplaceAll "[^-a-z0-9]" .Release.Name "-" | trunc 22 | trimAll "-" -}}
{{- printf "%s%s-%s" (ternary "r" "" (regexMatch "^[0-9]" $part)) $part (sha256sum .Release.Name | trunc 8) -}}
{{- end -}}
{{- end -}}

{{- define "streamfx.selector" -}}
app.kubernetes.io/name: streamfx
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "streamfx.labels" -}}
{{ include "streamfx.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | replace "+" "_" | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "streamfx.imageName" -}}
{{- /* A repository that begins with a registry's host is used as it is; `image.registry` is put before others. */ -}}
{{- if and .root.Values.image.registry (not (regexMatch "^([^/]*[.:][^/]*|localhost)/" .image.repository)) -}}
{{- printf "%s/%s" .root.Values.image.registry .image.repository -}}
{{- else -}}
{{- .image.repository -}}
{{- end -}}
{{- end -}}

{{- define "streamfx.image" -}}
{{- /* Images for GPUs have their own tags, so that an image without CUDA is never used by mistake. `kind` is the tag's suffix;
without it, the image is the worker's. */ -}}
{{- $gpus := and (eq (include "streamfx.engine" .root) "ray") (gt (int .root.Values.ray.worker.gpus) 0) -}}
{{- $kind := ternary .kind (ternary "-gpu" "" $gpus) (hasKey . "kind") -}}
{{- include "streamfx.imageName" . }}:{{ .image.tag | default (printf "%s%s" .root.Chart.AppVersion $kind) }}
{{- end -}}

{{- define "streamfx.pipelineText" -}}
{{- /* A value with a colon is the configuration itself; any other is the name of a configuration that ships. */ -}}
{{- if contains ":" .Values.pipeline -}}
{{- .Values.pipeline -}}
{{- else -}}
{{- $file := printf "files/config/%s.yaml" .Values.pipeline -}}
{{- .Files.Get $file | required (printf "pipeline: no configuration %q ships with this chart; give the text of your own with --set-file pipeline=FILE" .Values.pipeline) -}}
{{- end -}}
{{- end -}}

{{- define "streamfx.pipeline" -}}
{{- /* The configuration with `overrides` applied, for the chart's own decisions. */ -}}
{{- $tree := include "streamfx.pipelineText" . | fromYaml -}}
{{- with get $tree "Error" }}{{ fail (printf "pipeline: not valid YAML: %s" .) }}{{ end -}}
{{- mustMergeOverwrite $tree (deepCopy (.Values.overrides | default dict)) | toYaml -}}
{{- end -}}

{{- define "streamfx.restartingPipeline" -}}
{{- /* The file without its live keys: only a change of the rest restarts the supervisor. */ -}}
{{- $tree := include "streamfx.pipelineText" . | fromYaml -}}
{{- range .Files.Get "files/live.yaml" | fromYamlArray -}}
{{- $keys := splitList "." . -}}
{{- $here := $tree -}}
{{- range initial $keys -}}
{{- $below := get $here . -}}
{{- $here = ternary $below dict (kindIs "map" $below) -}}
{{- end -}}
{{- $_ := unset $here (last $keys) -}}
{{- end -}}
{{- toYaml $tree -}}
{{- end -}}

{{- define "streamfx.engine" -}}
{{- $engine := dig "runtime" "engine" "local" (include "streamfx.pipeline" . | fromYaml) -}}
{{- if contains "$" $engine }}{{ fail "runtime.engine: an environment variable decides what is installed, and the chart cannot see it; set overrides.runtime.engine" }}{{ end -}}
{{- $engine -}}
{{- end -}}

{{- define "streamfx.backend" -}}
{{- $backend := dig "serving" "backend" "in_process" (include "streamfx.pipeline" . | fromYaml) -}}
{{- if contains "$" $backend }}{{ fail "serving.backend: an environment variable decides what is installed, and the chart cannot see it; set overrides.serving.backend" }}{{ end -}}
{{- $backend -}}
{{- end -}}

{{- define "streamfx.source" -}}
{{- if dig "source" "kafka" "" (include "streamfx.pipeline" . | fromYaml) }}kafka{{ else }}files{{ end -}}
{{- end -}}

{{- define "streamfx.traces" -}}
{{- /* Not empty if traces are sent. */ -}}
{{- dig "tracing" "endpoint" "" (include "streamfx.pipeline" . | fromYaml) | default "" -}}
{{- end -}}

{{- define "streamfx.flatten" -}}
{{- /* `a.b=value` for each leaf of a tree, as arguments. Values are written as JSON, which is valid YAML. */ -}}
{{- $prefix := .prefix -}}
{{- range $key, $value := .tree }}
{{- if and (kindIs "map" $value) $value }}
{{- include "streamfx.flatten" (dict "prefix" (printf "%s%s." $prefix $key) "tree" $value) }}
{{- else }}
- --set
{{- /* In arguments, Kubernetes replaces `$(NAME)` by a variable and `$$` by one dollar sign; so each dollar sign is doubled. */}}
- {{ printf "%s%s=%s" $prefix $key (toJson $value) | replace "$" "$$" | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "streamfx.cluster" -}}
{{- /* Configuration keys that only the cluster knows. */ -}}
{{- $name := include "streamfx.name" . -}}
{{- if eq .Values.storage.kind "s3" }}
{{- with .Values.storage.s3 }}
sink:
  path: {{ .url }}
  {{- if or .endpoint .region }}
  s3:
    {{- with .endpoint }}
    endpoint: {{ . }}
    {{- end }}
    {{- with .region }}
    region: {{ . }}
    {{- end }}
  {{- end }}
{{- end }}
{{- else }}
sink: {path: /var/lib/streamfx/dataset}
{{- end }}
{{- if .Values.streamIdKey.secretName }}
privacy: {stream_id_key_file: /etc/streamfx/stream-id/key}
{{- end }}
runtime:
  drain_s: {{ .Values.supervisor.drainSeconds }}
  metrics_port: 9400
  health_port: 9300
  log_format: json
  {{- if eq (include "streamfx.engine" .) "ray" }}
  workers: {{ .Values.ray.worker.count }}
  {{- with .Values.ray.worker.scaling }}
  {{- if .enabled }}
  scaling: {min_workers: {{ .min }}, max_workers: {{ .max }}, target_lag_s: {{ .targetLagSeconds }}}
  {{- end }}
  {{- end }}
  worker_gpus: {{ .Values.ray.worker.gpus }}
  ray_address: ray://{{ $name }}-head-svc:10001
  {{- else }}
  workers: 1
  {{- end }}
{{- if eq (include "streamfx.backend" .) "triton" }}
serving:
  triton:
    url: {{ $name }}-triton:8001
    # Pods do not share memory.
    shared_memory: "off"
    {{- if .Values.triton.tls.secretName }}
    ca_file: /etc/streamfx/triton/ca.crt
    {{- end }}
{{- end }}
{{- if eq (include "streamfx.source" .) "kafka" }}
source:
  kafka:
    bootstrap: {{ .Values.kafka.bootstrap | quote }}
    {{- with .Values.kafka.secret }}
    {{- if and .name (or .passwordKey .caKey .certKey .privateKeyKey) }}
    security:
      {{- if .passwordKey }}
      password_file: /etc/streamfx/kafka/{{ .passwordKey }}
      {{- end }}
      {{- if .caKey }}
      ca_file: /etc/streamfx/kafka/{{ .caKey }}
      {{- end }}
      {{- if .certKey }}
      cert_file: /etc/streamfx/kafka/{{ .certKey }}
      {{- end }}
      {{- if .privateKeyKey }}
      key_file: /etc/streamfx/kafka/{{ .privateKeyKey }}
      {{- end }}
    {{- end }}
    {{- end }}
{{- end }}
{{- if .Values.deadLetterKey.secretName }}
dead_letter: {encryption_key: "file:/etc/streamfx/dead-letter/key"}
{{- end }}
{{- end -}}

{{- define "streamfx.effective" -}}
{{- /* The configuration that the run uses: the file, the cluster's keys, and the user's overrides. */ -}}
{{- $cluster := include "streamfx.cluster" . | fromYaml -}}
{{- mustMergeOverwrite (include "streamfx.pipelineText" . | fromYaml) $cluster (deepCopy (.Values.overrides | default dict)) | toYaml -}}
{{- end -}}

{{- define "streamfx.sets" -}}
{{- /* All `--set` arguments: the user's overrides, then the cluster's keys. */ -}}
{{- $cluster := include "streamfx.cluster" . | fromYaml -}}
{{- include "streamfx.flatten" (dict "prefix" "" "tree" (mustMergeOverwrite $cluster (deepCopy (.Values.overrides | default dict)))) -}}
{{- end -}}

{{- define "streamfx.maintained" -}}
{{- /* The kinds of maintenance that are on, one per line. */ -}}
{{- range $kind := list "retain" "compact" "verify" }}
{{- if (get $.Values.maintenance $kind).enabled }}
{{ $kind }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "streamfx.dataset" -}}
{{- /* The place of the rows, as seen by a pod that runs the line. */ -}}
{{- $path := (include "streamfx.effective" . | fromYaml).sink.path -}}
{{- if or (hasPrefix "/" $path) (contains "://" $path) }}{{ $path }}{{ else }}{{ clean (printf "/var/lib/streamfx/%s" $path) }}{{ end -}}
{{- end -}}

{{- define "streamfx.workers" -}}
{{- /* The smallest, initial and largest number of workers, from values or configuration; the defaults are those of streamfx. */ -}}
{{- $cluster := include "streamfx.cluster" . | fromYaml -}}
{{- $run := mustMergeOverwrite (include "streamfx.pipeline" . | fromYaml) $cluster (deepCopy (.Values.overrides | default dict)) -}}
{{- $workers := int $run.runtime.workers -}}
{{- $scaling := $run.runtime.scaling -}}
{{- if kindIs "map" $scaling }}
{{- $few := int (dig "min_workers" 1 $scaling) -}}
{{ dict "min" $few "first" $few "scaled" true "max" (int (dig "max_workers" 4 $scaling)) | toYaml }}
{{- else -}}
{{ dict "min" 0 "first" $workers "max" $workers | toYaml }}
{{- end }}
{{- end -}}

{{- define "streamfx.podSecurity" -}}
{{- /* The restricted pod security standard, and a fixed user who owns the files that are written. */ -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "streamfx.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "streamfx.spread" -}}
{{- /* Pods are spread over nodes if possible, but are never left unscheduled because of it. */ -}}
{{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
- maxSkew: 1
  topologyKey: {{ $key }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {{ include "streamfx.selector" $ | nindent 6 }}
{{- end }}
{{- end -}}

{{- define "streamfx.gpuLimits" -}}
{{- /* The resources, with `gpus` added to the limits. */ -}}
{{- $resources := deepCopy .resources -}}
{{- if .gpus }}{{ $_ := set $resources.limits "nvidia.com/gpu" (int .gpus) }}{{ end -}}
{{- toYaml $resources -}}
{{- end -}}

{{- define "streamfx.claim" -}}
{{- .Values.storage.existingClaim | default (printf "%s-data" (include "streamfx.name" .)) -}}
{{- end -}}

{{- define "streamfx.lineFolder" -}}
{{- /* The folder to which relative paths of the configuration refer, in a pod that runs the line. */ -}}
{{- ternary "/tmp" "/var/lib/streamfx" (eq .Values.storage.kind "s3") -}}
{{- end -}}

{{- define "streamfx.lineEnv" -}}
{{- /* The object store's credentials, for a pod that runs the line. */ -}}
{{- if eq .Values.storage.kind "s3" }}
{{- with .Values.storage.s3.credentials }}
{{- if .secretName }}
- name: AWS_ACCESS_KEY_ID
  valueFrom:
    secretKeyRef: {name: {{ .secretName }}, key: {{ .accessKeyIdKey }}}
- name: AWS_SECRET_ACCESS_KEY
  valueFrom:
    secretKeyRef: {name: {{ .secretName }}, key: {{ .secretAccessKeyKey }}}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "streamfx.lineVolumes" -}}
{{- /* The volumes of a pod that runs the line: the dataset and the secrets that it reads. */ -}}
{{- if eq .Values.storage.kind "pvc" }}
- name: data
  persistentVolumeClaim: {claimName: {{ include "streamfx.claim" . }}}
{{- end }}
{{- with .Values.streamIdKey }}
{{- if .secretName }}
- name: stream-id
  secret: {secretName: {{ .secretName }}, defaultMode: 0440, items: [{key: {{ .secretKey }}, path: key}]}
{{- end }}
{{- end }}
{{- with .Values.deadLetterKey }}
{{- if .secretName }}
- name: dead-letter
  secret: {secretName: {{ .secretName }}, defaultMode: 0440, items: [{key: {{ .secretKey }}, path: key}]}
{{- end }}
{{- end }}
{{- if and .Values.kafka.secret.name (eq (include "streamfx.source" .) "kafka") }}
- name: kafka
  secret: {secretName: {{ .Values.kafka.secret.name }}, defaultMode: 0440}
{{- end }}
{{- if and .Values.triton.tls.secretName (eq (include "streamfx.backend" .) "triton") }}
- name: triton-ca
  secret: {secretName: {{ .Values.triton.tls.secretName }}, defaultMode: 0440, items: [{key: ca.crt, path: ca.crt}]}
{{- end }}
{{- end -}}

{{- define "streamfx.lineMounts" -}}
{{- if eq .Values.storage.kind "pvc" }}
- {name: data, mountPath: /var/lib/streamfx}
{{- end }}
{{- if .Values.streamIdKey.secretName }}
- {name: stream-id, mountPath: /etc/streamfx/stream-id, readOnly: true}
{{- end }}
{{- if .Values.deadLetterKey.secretName }}
- {name: dead-letter, mountPath: /etc/streamfx/dead-letter, readOnly: true}
{{- end }}
{{- if and .Values.kafka.secret.name (eq (include "streamfx.source" .) "kafka") }}
- {name: kafka, mountPath: /etc/streamfx/kafka, readOnly: true}
{{- end }}
{{- if and .Values.triton.tls.secretName (eq (include "streamfx.backend" .) "triton") }}
- {name: triton-ca, mountPath: /etc/streamfx/triton, readOnly: true}
{{- end }}
{{- end -}}

{{- define "streamfx.rayEnv" -}}
{{- /* Settings that all processes of one Ray cluster must share. KubeRay adds the token to the pods that it makes. */ -}}
- {name: HOME, value: /tmp}
- {name: RAY_USAGE_STATS_ENABLED, value: "0"}
{{- if .Values.ray.tls.secretName }}
- {name: RAY_USE_TLS, value: "1"}
- {name: RAY_TLS_SERVER_CERT, value: /etc/streamfx/ray-tls/tls.crt}
- {name: RAY_TLS_SERVER_KEY, value: /etc/streamfx/ray-tls/tls.key}
- {name: RAY_TLS_CA_CERT, value: /etc/streamfx/ray-tls/ca.crt}
{{- end }}
{{- end -}}

{{- define "streamfx.rayCertificate" -}}
{{- /* TLS inside Ray connects to pod addresses, which are not known beforehand and which gRPC requires in the certificate. So each
pod makes its own certificate from the authority in the Secret, whose key no other container sees. KubeRay adds FQ_RAY_IP, the
head's full name. */ -}}
- name: ray-certificate
  image: {{ include "streamfx.image" (dict "root" . "image" .Values.image) }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [/bin/sh, -euc]
  args:
    - |
      umask 077
      cd /etc/streamfx/ray-tls
      cat /etc/streamfx/ray-ca/tls.crt > ca.crt
      openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout tls.key -out request -subj /CN=ray
      printf '%s\n' 'basicConstraints=CA:FALSE' 'extendedKeyUsage=serverAuth,clientAuth' \
        "subjectAltName=IP:$POD_IP,IP:127.0.0.1,DNS:localhost,DNS:$HEAD${FQ_RAY_IP:+,DNS:$FQ_RAY_IP}" > extensions
      openssl x509 -req -in request -CA ca.crt -CAkey /etc/streamfx/ray-ca/tls.key -set_serial "0x$(openssl rand -hex 8)" \
        -days 3650 -extfile extensions -out tls.crt
  workingDir: /tmp
  env:
    - {name: HOME, value: /tmp}
    - {name: HEAD, value: {{ include "streamfx.name" . }}-head-svc}
    - name: POD_IP
      valueFrom:
        fieldRef: {fieldPath: status.podIP}
  resources:
    requests: {cpu: 50m, memory: 32Mi}
    limits: {cpu: 500m, memory: 128Mi}
  securityContext: {{ include "streamfx.containerSecurity" . | nindent 4 }}
  volumeMounts:
    - {name: tmp, mountPath: /tmp}
    - {name: ray-ca, mountPath: /etc/streamfx/ray-ca, readOnly: true}
    - {name: ray-tls, mountPath: /etc/streamfx/ray-tls}
{{- end -}}

{{- define "streamfx.rayTlsVolumes" -}}
- name: ray-ca
  secret: {secretName: {{ .Values.ray.tls.secretName }}, defaultMode: 0440, items: [{key: tls.crt, path: tls.crt}, {key: tls.key, path: tls.key}]}
# The pod's own key is held in memory and is gone with the pod.
- name: ray-tls
  emptyDir: {medium: Memory, sizeLimit: 1Mi}
{{- end -}}

{{- define "streamfx.threads" -}}
{{- /* The models would count the node's cores, not the container's; more threads than its limit would slow each other down. */ -}}
- name: OMP_NUM_THREADS
  valueFrom:
    resourceFieldRef: {resource: limits.cpu}
{{- end -}}

{{- define "streamfx.rayProbes" -}}
{{- /* Ray's node agent answers without a token. Otherwise KubeRay would add its own probes, in some versions with wget. */ -}}
startupProbe:
  httpGet: {path: /api/local_raylet_healthz, port: 52365}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 60
readinessProbe:
  httpGet: {path: /api/local_raylet_healthz, port: 52365}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
livenessProbe:
  httpGet: {path: /api/local_raylet_healthz, port: 52365}
  periodSeconds: 15
  timeoutSeconds: 10
  failureThreshold: 6
{{- end -}}

{{- define "streamfx.monitorLabels" -}}
{{ include "streamfx.labels" . }}
{{- with .root.Values.monitoring.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}
