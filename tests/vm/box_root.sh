#!/usr/bin/env bash
# Turns a tree of Debian packages into the system of a virtual machine; box.sh runs it.
#
# Usage: tests/vm/box_root.sh ROOT
#
# The user vagrant, network, boot loader's menu, and from this host's environment: the CA that
# SSL_CERT_FILE holds beside Debian's own, and pip's index (PIP_INDEX_URL and the like).
set -euo pipefail
root=${1:?usage: tests/vm/box_root.sh ROOT}

# Every gem's folder differs by version.
vagrant_key() { cat /usr/share/rubygems-integration/all/gems/vagrant-*/keys/vagrant.pub; }

# ---- boot -----------------------------------------------------------------------------------

cat >"$root/etc/fstab" <<'EOF'
/dev/vda1 / ext4 defaults 0 1
EOF
# The drivers of this one kind of machine: a small initramfs is read faster.
echo 'MODULES=list' >"$root/etc/initramfs-tools/conf.d/box"
printf '%s\n' virtio_pci virtio_blk ext4 crc32c >>"$root/etc/initramfs-tools/modules"
chroot "$root" update-initramfs -u
mkdir -p "$root/boot/extlinux"
cat >"$root/boot/extlinux/extlinux.conf" <<'EOF'
DEFAULT linux
LABEL linux
  LINUX /vmlinuz
  INITRD /initrd.img
  APPEND root=/dev/vda1 rw console=ttyS0 net.ifnames=0 mitigations=off quiet
EOF
# Package lists are fetched when somebody installs: these timers take half of a slow machine.
chroot "$root" systemctl disable apt-daily.timer apt-daily-upgrade.timer

# ---- network --------------------------------------------------------------------------------

echo debian >"$root/etc/hostname"
printf '%s\n' '127.0.0.1 localhost' '127.0.1.1 debian' '::1 localhost ip6-localhost ip6-loopback' >"$root/etc/hosts"
rm -f "$root/etc/resolv.conf"
cat >"$root/etc/network/interfaces" <<'EOF'
source-directory /etc/network/interfaces.d
auto lo
iface lo inet loopback
allow-hotplug eth0
iface eth0 inet dhcp
allow-hotplug eth1
iface eth1 inet dhcp
EOF

# ---- ssh ------------------------------------------------------------------------------------

# Keys of each machine's own, of the two kinds that are made in no time.
rm -f "$root"/etc/ssh/ssh_host_*
cat >"$root/etc/ssh/sshd_config.d/box.conf" <<'EOF'
UseDNS no
HostKey /etc/ssh/ssh_host_ed25519_key
HostKey /etc/ssh/ssh_host_ecdsa_key
EOF
cat >"$root/etc/systemd/system/ssh-host-keys.service" <<'EOF'
[Unit]
Description=Make the host keys of this machine
Before=ssh.service
ConditionPathExists=!/etc/ssh/ssh_host_ecdsa_key

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/ssh_host_ed25519_key
ExecStart=/usr/bin/ssh-keygen -q -t ecdsa -N "" -f /etc/ssh/ssh_host_ecdsa_key

[Install]
WantedBy=multi-user.target
EOF
chroot "$root" systemctl enable ssh-host-keys.service

chroot "$root" useradd --create-home --shell /bin/bash --groups sudo,adm vagrant
echo 'vagrant ALL=(ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/vagrant"
chmod 0440 "$root/etc/sudoers.d/vagrant"
install -d -m 0700 "$root/home/vagrant/.ssh"
vagrant_key >"$root/home/vagrant/.ssh/authorized_keys"
chmod 0600 "$root/home/vagrant/.ssh/authorized_keys"
chroot "$root" chown -R vagrant: /home/vagrant/.ssh

# ---- this host's CA and package index -------------------------------------------------------

if [[ -n ${SSL_CERT_FILE:-} ]]; then
  python3 - "$SSL_CERT_FILE" "$root" <<'PYTHON'
import pathlib, re, sys
bundle, root = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
pem = re.compile("-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
debian = pathlib.Path("/usr/share/ca-certificates").rglob("*.crt")
known = {text.strip() for file in debian for text in pem.findall(file.read_text())}
own = [text for text in pem.findall(bundle.read_text()) if text not in known]
for number, text in enumerate(own):
    (root / f"usr/local/share/ca-certificates/host-{number}.crt").write_text(text + "\n")
PYTHON
  chroot "$root" update-ca-certificates
  # As a company's machines have it; sshd hands it to every session.
  echo 'SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt' >>"$root/etc/environment"
fi
{
  echo '[global]'
  [[ -z ${SSL_CERT_FILE:-} ]] || echo 'cert = /etc/ssl/certs/ca-certificates.crt'
  # A folder or file of this host means nothing in the guest.
  for name in INDEX_URL EXTRA_INDEX_URL TRUSTED_HOST DEFAULT_TIMEOUT RETRIES PROXY; do
    variable=PIP_$name
    value=${!variable:-} name=${name//_/-}
    [[ -z $value || $value == /* || $value == file:* ]] || echo "${name,,} = $value"
  done
} >"$root/etc/pip.conf"
for variable in PIP_INDEX_URL http_proxy https_proxy no_proxy; do
  [[ -z ${!variable:-} ]] || echo "$variable=${!variable}" >>"$root/etc/environment"
done

# ---- leftovers ------------------------------------------------------------------------------

chroot "$root" apt-get clean
: >"$root/etc/machine-id"
rm -rf "$root"/var/lib/dbus/machine-id "$root"/var/log/{apt,*.log}
