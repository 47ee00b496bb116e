{{- if .Values.certs }}
{{- $made := genSelfSignedCert "relay.lab.invalid" nil nil 1 }}
apiVersion: v1
kind: Secret
metadata:
  name: cilium-certs
  namespace: {{ .Release.Namespace }}
type: kubernetes.io/tls
data:
  tls.crt: {{ $made.Cert | b64enc }}
  tls.key: {{ $made.Key | b64enc }}
{{- end }}
