#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Pid 1 of the example firmware: it says who it is, and counts its starts.

VERSION=1
starts=$(cat /root/starts 2>/dev/null)
starts=$((starts + 1))
echo "$starts" >/root/starts
echo "example firmware $VERSION: $(cat /etc/banner)"
while :; do sleep 1000; done
