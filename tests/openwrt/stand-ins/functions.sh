# Stands in for OpenWrt's /lib/functions.sh: the shell's access to UCI, as its documentation says.
# Where a function of ours is called, the local variables have the names that they have there: it sees
# these, not its caller's.
# shellcheck shell=dash

reset_cb() {
	config_cb() { :; }
	option_cb() { :; }
	list_cb() { :; }
}
reset_cb

# What a package's export consists of.
config() { # TYPE NAME
	CONFIG_SECTION=$2
	CONFIG_SECTIONS="$CONFIG_SECTIONS $2"
	eval "CONFIG_${2}_TYPE=\$1"
	config_cb "$1" "$2"
}

option() { # NAME VALUE
	eval "CONFIG_${CONFIG_SECTION}_$1=\$2"
	option_cb "$1" "$2"
}

list() { # NAME VALUE
	local n

	eval "n=\${CONFIG_${CONFIG_SECTION}_$1_LENGTH:-0}"
	n=$((n + 1))
	eval "CONFIG_${CONFIG_SECTION}_$1_LENGTH=$n"
	eval "CONFIG_${CONFIG_SECTION}_$1_ITEM$n=\$2"
	eval "CONFIG_${CONFIG_SECTION}_$1=\"\${CONFIG_${CONFIG_SECTION}_$1:+\$CONFIG_${CONFIG_SECTION}_$1 }\$2\""
	list_cb "$1" "$2"
}

config_load() { # PACKAGE
	local name

	for name in $(set | sed -n 's/^\(CONFIG_[A-Za-z0-9_]*\)=.*/\1/p'); do
		unset "$name"
	done
	CONFIG_SECTIONS=
	eval "$(uci export "$1")"
	config_cb
}

config_get() { # VARIABLE SECTION OPTION [DEFAULT]
	eval "$1=\${CONFIG_$2_$3:-\$4}"
}

config_get_bool() { # VARIABLE SECTION OPTION [DEFAULT]
	local _value

	config_get _value "$2" "$3" "$4"
	case $_value in
	1 | on | true | yes | enabled) eval "$1=1" ;;
	0 | off | false | no | disabled) eval "$1=0" ;;
	*) eval "$1=\$4" ;;
	esac
}

config_foreach() { # FUNCTION [TYPE [ARGUMENT...]]
	local _function=$1 _type=$2 section cfgtype

	shift
	[ $# = 0 ] || shift
	for section in $CONFIG_SECTIONS; do
		config_get cfgtype "$section" TYPE
		[ "$cfgtype" != "${_type:-$cfgtype}" ] || "$_function" "$section" "$@"
	done
}

config_list_foreach() { # SECTION OPTION FUNCTION [ARGUMENT...]
	local section=$1 option=$2 function=$3 c=1 len val

	shift 3
	config_get len "$section" "${option}_LENGTH" 0
	while [ "$c" -le "$len" ]; do
		config_get val "$section" "${option}_ITEM$c"
		"$function" "$val" "$@"
		c=$((c + 1))
	done
}
