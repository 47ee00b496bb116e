apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: cilium
  namespace: {{ .Release.Namespace }}
  labels: {k8s-app: cilium}
spec:
  selector:
    matchLabels: {k8s-app: cilium}
  template:
    metadata:
      labels: {k8s-app: cilium}
{{- if .Values.rollOutCiliumPods }}
      annotations:
        cilium.io/cilium-configmap-checksum: {{ include (print $.Template.BasePath "/config.tpl") . | sha256sum | quote }}
{{- end }}
    spec:
      terminationGracePeriodSeconds: 0
      tolerations: [{operator: Exists}]
      containers:
        - name: cilium-agent
          image: quay.io/cilium/cilium:v{{ .Chart.AppVersion }}
          readinessProbe:
            tcpSocket: {host: ready.node, port: {{ .Values.readyPort }}}
            periodSeconds: 1
            failureThreshold: 1
