# Stands in for OpenWrt's /lib/functions/network.sh: what netifd knows of a network is a file here.
# shellcheck shell=dash

network_flush_cache() { :; }

# The layer 3 device of a network that is up.
network_get_device() { # VARIABLE NETWORK
	[ -r "/tmp/netifd/$2" ] || return 1
	eval "$1=\$(cat \"/tmp/netifd/\$2\")"
}
