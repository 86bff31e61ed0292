# The router owner's settings (/etc/config/bondway) as a gateway.conf. Sourced by the init script,
# after /lib/functions.sh and /lib/functions/network.sh.
# shellcheck shell=dash
# shellcheck disable=SC2317 # what config_foreach and config_list_foreach call

BONDWAY_RUN=/var/run/bondway
BONDWAY_KEYS=/etc/bondway
# Of the use of budgets: /var is memory here.
BONDWAY_STATE=/etc/bondway
BONDWAY_NFT=/usr/share/nftables.d/chain-pre/input/bondway.nft

bondway_say() {
	logger -s -t bondway -p daemon.err "$*"
}

# config_load, which keeps the names of each section's options, too: in $bondway_has_SECTION.
bondway_load() {
	config_cb() { # TYPE SECTION, or nothing at the end
		[ -z "$2" ] || eval "bondway_has_$2=''"
	}
	option_cb() { # NAME VALUE
		bondway_last=$CONFIG_SECTION.$1
		eval "bondway_has_$CONFIG_SECTION=\"\$bondway_has_$CONFIG_SECTION \$1\""
	}
	list_cb() {
		[ "$bondway_last" = "$CONFIG_SECTION.$1" ] || option_cb "$@"
	}
	bondway_last=''
	config_load bondway
	reset_cb
}

bondway_names() { # SECTION
	eval "printf '%s' \"\$bondway_has_$1\""
}

# ---- values, as libconfig reads them ----

# Whatever stands in it, it stays one string.
bondway_quote() {
	case $1 in
	*[!-A-Za-z0-9_./:%@+,=\ ]*)
		printf '%s' "$1" | awk '
			BEGIN { ORS = ""; print "\"" }
			NR > 1 { print "\\n" }
			{ gsub(/[\\"]/, "\\\\&"); gsub(/\t/, "\\t"); gsub(/\r/, "\\r"); print }
			END { print "\"" }
		'
		;;
	*) printf '"%s"' "$1" ;;
	esac
}

# What is no number, or neither true nor false, is given as text: the gateway's own check says then
# what it should have been.
bondway_value() { # KIND VALUE
	case $1:$2 in
	number:*[!0-9]*)
		case $2 in
		0x*[!0-9a-fA-F]* | 0x) bondway_quote "$2" ;;
		0x*) printf '%s' "$2" ;;
		*) bondway_quote "$2" ;;
		esac
		;;
	number:?*) printf '%s' "$2" ;;
	bool:1 | bool:on | bool:true | bool:yes | bool:enabled) printf 'true' ;;
	bool:0 | bool:off | bool:false | bool:no | bool:disabled) printf 'false' ;;
	*) bondway_quote "$2" ;;
	esac
}

bondway_item() { # VALUE KIND
	printf '%s' "$bondway_comma"
	bondway_value "$2" "$1"
	bondway_comma=', '
}

# A list is "list" in the file, or one "option" with words.
bondway_list_foreach() { # SECTION NAME FUNCTION [ARGUMENT]
	local length value word

	config_get length "$1" "$2_LENGTH"
	if [ -n "$length" ]; then
		config_list_foreach "$@"
		return
	fi
	config_get value "$1" "$2"
	set -f
	for word in $value; do
		set +f
		"$3" "$word" "$4"
	done
	set +f
}

bondway_items() { # SECTION KIND NAME
	bondway_comma=''
	bondway_list_foreach "$1" "$3" bondway_item "$2"
}

# What the owner has set and the settings do not know is handed on: the gateway's own check says then
# that it knows no such key, and which one may have been meant. A name that begins with "_" is another
# tool's; of one that begins with a digit bondway_check_names speaks.
bondway_strangers() { # SECTION INDENT KNOWN
	local known=$3 name value

	for name in $(bondway_names "$1"); do
		case $name:$known in
		[_0-9]*:* | *:*" $name "*) continue ;;
		esac
		known="$known$name "
		config_get value "$1" "$name"
		printf '%s%s = %s;\n' "$2" "$name" "$(bondway_quote "$value")"
	done
}

# Settings of a section that have the same name in gateway.conf: "text:scheduler", "numbers:ports",
# "texts:bypass"; "own:network" is for these scripts alone. What is not set is not written: the
# gateway has the defaults.
bondway_settings() { # SECTION INDENT KIND:NAME...
	local section=$1 indent=$2 known=' ' setting kind name value

	shift 2
	for setting; do
		kind=${setting%%:*}
		name=${setting#*:}
		known="$known$name "
		config_get value "$section" "$name"
		case $kind:$value in
		own:* | *:) continue ;;
		esac
		printf '%s%s = ' "$indent" "$name"
		case $kind in
		texts | numbers)
			printf '('
			bondway_items "$section" "${kind%s}" "$name"
			printf ')'
			;;
		*) bondway_value "$kind" "$value" ;;
		esac
		printf ';\n'
	done
	bondway_strangers "$section" "$indent" "$known"
}

# ---- networks ----

# netifd knows the device of a network only while that is up. What it was is remembered until the
# next boot; before it is known, the gateway waits for an interface of that name, and another word
# of netifd corrects it.
bondway_device() { # NETWORK FIRST_GUESS
	local device remembered=$BONDWAY_RUN/device.$1

	if network_get_device device "$1" && [ -n "$device" ]; then
		printf '%s\n' "$device" > "$remembered"
	elif [ -r "$remembered" ]; then
		device=$(cat "$remembered")
	else
		device=$2
	fi
	printf '%s' "$device"
}

bondway_add_lan() { # NETWORK
	bondway_item "$(bondway_device "$1" "br-$1")" text
}

# ---- sections ----

bondway_globals() {
	local state_dir

	config_get state_dir globals state_dir
	printf 'lan_interfaces = ('
	bondway_items globals text lan_interfaces
	bondway_list_foreach globals lan bondway_add_lan
	printf ');\n'
	[ -n "$state_dir" ] || printf 'state_dir = "%s";\n' "$BONDWAY_STATE"
	bondway_settings globals '' own:enabled own:lan own:lan_interfaces \
		own:concentrators own:uplinks own:rules \
		text:scheduler text:encryption text:when_unreachable bool:route_unproxied \
		text:packet_scheduler texts:bypass number:listen_port text:control_socket text:state_dir \
		text:metrics_listen number:firewall_mark number:direct_mark \
		number:routing_table number:rule_priority \
		text:dial_timeout text:idle_timeout text:half_closed_timeout number:max_flows
}

# Begins a group, unless the section is switched off.
bondway_group() { # SECTION
	local enabled name

	config_get_bool enabled "$1" enabled 1
	[ "$enabled" = 1 ] || return 1
	config_get name "$1" name "$1"
	printf '%s\n  { # config section %s\n    name = ' "$bondway_between" "$1"
	bondway_quote "$name"
	printf ';\n'
	bondway_between=','
}

bondway_concentrator() { # SECTION
	local key_file

	bondway_group "$1" || return 0
	config_get key_file "$1" key_file
	[ -n "$key_file" ] || printf '    key_file = "%s/%s.key";\n' "$BONDWAY_KEYS" "$1"
	bondway_settings "$1" '    ' own:enabled own:name text:address number:port text:key_file
	printf '  }'
}

bondway_uplink() { # SECTION
	local network interface

	bondway_group "$1" || return 0
	config_get interface "$1" interface
	config_get network "$1" network "$1"
	if [ -z "$interface" ]; then
		printf '    interface = '
		bondway_quote "$(bondway_device "$network" "$network")"
		printf ';\n'
	fi
	bondway_settings "$1" '    ' own:enabled own:name own:network \
		text:interface number:cost number:weight bool:metered text:gateway text:gateway6 \
		text:monthly_budget number:budget_day text:on_budget
	printf '  }'
}

bondway_rule() { # SECTION
	bondway_group "$1" || return 0
	bondway_settings "$1" '    ' own:enabled own:name \
		texts:destinations numbers:ports texts:clients numbers:dscp texts:uplinks \
		text:scheduler text:encryption text:action
	printf '  }'
}

bondway_groups() { # KEY TYPE
	printf '%s = (' "$1"
	bondway_between=''
	config_foreach "bondway_$2" "$2"
	printf '\n);\n'
}

# In gateway.conf, such names would be a syntax error, or there twice.
bondway_check_names() { # SECTION
	local name

	for name in $(bondway_names "$1"); do
		case $1:$name in
		*:[0-9]*) bondway_say "section $1: unknown option \"$name\"; remove it" ;;
		globals:concentrators | globals:uplinks | globals:rules)
			bondway_say "section $1: unknown option \"$name\"; write a section for each:" \
				"config ${name%s} 'NAME'"
			;;
		*) continue ;;
		esac
		bondway_unread=1
	done
}

# Says what nothing reads, and the gateway's own check cannot see.
bondway_check_section() { # SECTION
	local type

	config_get type "$1" TYPE
	case $type:$1: in
	globals:globals: | concentrator:* | uplink:* | rule:*)
		bondway_check_names "$1"
		return
		;;
	globals:*) bondway_say "section $1: nothing reads it: begin it with config globals 'globals'" ;;
	*)
		bondway_say "section $1: unknown type \"$type\"; begin it with config" \
			"globals, concentrator, uplink or rule"
		;;
	esac
	bondway_unread=1
}

# Fails where there is such a section.
bondway_check_sections() {
	bondway_unread=0
	config_foreach bondway_check_section
	return "$bondway_unread"
}

# Fails where the firewall's rule, which is a file of its own, has another mark than is set: it would
# reject what the gateway takes in. Without that file the owner has a rule of his own.
bondway_check_mark() {
	local mark there

	config_get mark globals firewall_mark
	there=$(sed -n 's/.* == \([0-9A-Fa-fx]*\) .*/\1/p' "$BONDWAY_NFT" 2> /dev/null | head -n 1)
	case $there:$(bondway_value number "$mark") in
	:* | *:\"*) return ;;
	esac
	[ "$(printf '%u' "$mark" 2> /dev/null)" != "$(printf '%u' "$there" 2> /dev/null)" ] || return 0
	bondway_say "section globals: firewall_mark is $mark, but $there in $BONDWAY_NFT: write $mark there, too," \
		'in both places, and run "/etc/init.d/firewall reload"; or remove the option'
	return 1
}

# Of what bondway_load has read.
bondway_render() {
	printf '# Written by /etc/init.d/bondway from /etc/config/bondway: change that.\n'
	bondway_globals
	bondway_groups concentrators concentrator
	bondway_groups uplinks uplink
	bondway_groups rules rule
}

# What the gateway says of the rendered file, on standard input, "FILE:12: cost is ...", becomes
# "section wanb: cost is ...": its owner has not written that file. Where it lists the keys that there
# are, the scripts' own are keys, too.
bondway_locate() { # FILE
	awk -v file="$1:" '
		BEGIN { section = "globals" }
		NR == FNR {
			if (/^[a-z]+ = \($/)
				own = /^uplinks/ ? "enabled, network, " : "enabled, "
			if (sub(/.*# config section /, ""))
				section = $0
			else if ($0 == ");")
				section = "globals"
			of[FNR] = section
			owns[section] = section == "globals" ? "enabled, lan, " : own
			next
		}
		{
			said = ""
			while ((at = index($0, file)) > 0) {
				rest = substr($0, at + length(file))
				line = rest + 0
				said = said substr($0, 1, at - 1) (line ? "section " of[line] : "bondway:")
				sub(/^[0-9]+/, "", rest)
				sub(/the keys here are /, "&" owns[of[line]], rest)
				$0 = rest
			}
			print said $0
		}
	' "$1" -
}

# ---- joining ----

bondway_if_same() { # SECTION ADDRESS:PORT
	local address port

	config_get address "$1" address
	config_get port "$1" port 7171
	[ "$address:$port" != "$2" ] || bondway_same=$1
}

# The concentrator of that address, or a new one's name. What config_foreach calls cannot set $section:
# config_foreach has one of its own.
bondway_section_for() { # ADDRESS:PORT
	local section n=1

	bondway_same=''
	config_foreach bondway_if_same concentrator "$1"
	section=$bondway_same
	while [ -z "$section" ]; do
		section=vps
		[ "$n" = 1 ] || section=vps$n
		if uci -q get "bondway.$section" > /dev/null; then
			section=''
			n=$((n + 1))
		fi
	done
	printf '%s' "$section"
}

# Takes a link apart: "bondway1://HOST:PORT/KEY#NAME" into $host, $port and $key. What people, mail
# programs and terminals put around it is passed over, as by the program (core/link.c).
bondway_read_link() { # LINK
	local link endpoint rest

	link=$(printf '%s' "$1" | LC_ALL=C tr -d ' \t\r\n"'\''`<>\200-\377')
	rest=${link#*bondway1://}
	[ "$rest" != "$link" ] || return 1
	endpoint=${rest%%/*}
	rest=${rest#*/}
	key=${rest%%#*}
	port=${endpoint##*:}
	host=${endpoint%:*}
	case $host in
	\[*\]) host=${host#\[} host=${host%\]} ;;
	esac
	case $host:$port:$key in
	-* | *[!0-9A-Za-z.:_-]*) return 1 ;;
	esac
	[ -n "$host" ] && [ -n "$port" ] && [ -n "$key" ] && [ "$rest" != "$key" ]
}

# A configuration holds addresses, so that nothing waits for DNS when the uplinks are down: that of the
# name, of IPv4 where it has one. Fails where it has none now.
bondway_resolve() { # HOST
	case $1 in
	*:*) ;;
	*[!0-9.]*)
		nslookup "$1" 2> /dev/null | awk '
			/^Name:/ { answers = 1 }
			answers && /^Address/ && (!address || (address ~ /:/ && $NF !~ /:/)) { address = $NF }
			END { printf "%s", address; exit !address }
		'
		return
		;;
	esac
	printf '%s' "$1"
}

# Adds the concentrator of the link on standard input, and switches bondway on.
bondway_join() { # CHECK_COMMAND...
	local host port key section keep

	# What follows would commit or revert them, too.
	[ -z "$(uci changes bondway)" ] || {
		bondway_say 'the configuration has changes that are not committed ("uci changes bondway" shows' \
			'them): run "uci commit bondway" to keep them, or "uci revert bondway" to drop them;' \
			"then join again"
		return 1
	}
	bondway_read_link "$(head -c 1000)" || {
		bondway_say "this is no join link: copy the whole line that bondway invite has printed"
		return 1
	}
	host=$(bondway_resolve "$host") || {
		bondway_say "cannot find the address of the link's host: is an uplink up? or have the VPS" \
			"invite with --address and its IP address"
		return 1
	}
	config_load bondway
	section=$(bondway_section_for "$host:$port")
	mkdir -p "$BONDWAY_KEYS"
	keep=$BONDWAY_KEYS/$section.key
	(umask 077 && printf 'bondway1:%s\n' "$key" > "$keep.new") || return 1
	uci set "bondway.$section=concentrator"
	uci set "bondway.$section.address=$host"
	uci set "bondway.$section.port=$port"
	uci set "bondway.$section.key_file=$keep.new"
	uci -q get bondway.globals > /dev/null || uci set bondway.globals=globals
	uci set bondway.globals.enabled=1
	if ! "$@"; then
		uci revert bondway
		rm -f "$keep.new"
		return 1
	fi
	mv "$keep.new" "$keep"
	uci set "bondway.$section.key_file=$keep"
	uci commit bondway
}
