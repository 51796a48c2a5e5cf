#!/bin/bash
# certs.sh ADDRESS...: an authority of this cluster's own, and a certificate for each machine, in tls/
set -eu
umask 077
mkdir -p tls && cd tls
[ -f ca.key ] || openssl req -x509 -newkey rsa:3072 -nodes -days 365 -subj "/CN=resnet-tune cluster" \
    -keyout ca.key -out ca.crt
for address in "$@"; do
    openssl req -newkey rsa:3072 -nodes -subj "/CN=$address" -keyout "$address.key" -out "$address.csr"
    openssl x509 -req -days 365 -in "$address.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -out "$address.crt" \
        -extfile <(printf 'subjectAltName=IP:%s,IP:127.0.0.1,DNS:localhost' "$address")
    rm "$address.csr"
done
