apiVersion: v1
kind: ConfigMap
metadata:
  name: cilium-config
  namespace: {{ .Release.Namespace }}
data:
  ipam: cluster-pool
  bpf-map-size: {{ .Values.bpfMapSize | int | quote }}
{{- if .Values.endpointRoutes.enabled }}
  enable-endpoint-routes: "true"
{{- end }}
