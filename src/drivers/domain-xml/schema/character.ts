// Character devices: serial ports, consoles and channels, and their host backends.

import {
  defaulted,
  element,
  elementBy,
  exactlyOne,
  guest,
  host,
  idle,
  type Model,
  needed,
  one,
  optional,
} from "../xml/table.js";
import { onOff, path, text, whole, word } from "../xml/values.js";
import { alias, portAddress } from "./address.js";

const mode = defaulted(word("bind", "connect"), "bind", host("-chardev server=on or off"));
const backend = host("-chardev pty, file, socket or null");
const backends = {
  pty: { source: one(element({ path: optional(path, idle("the host chooses it")) })) },
  file: {
    source: exactlyOne(
      element({
        path: needed(path, host("-chardev file,path")),
        append: optional(onOff, host("-chardev file,append")),
      }),
    ),
  },
  unix: {
    source: one(
      element({
        mode,
        path: optional(
          path,
          host("-chardev socket,path; default for a channel: a socket in the guest's directory"),
        ),
      }),
    ),
  },
  tcp: {
    source: exactlyOne(
      element({
        mode,
        host: needed(text("a host name or address", /^[\w.:%-]{1,255}$/), host("-chardev socket,host")),
        service: needed(whole(1, 65_535), host("-chardev socket,port")),
      }),
    ),
    protocol: one(element({ type: needed(word("raw", "telnet"), host("-chardev socket,telnet")) })),
  },
  null: {},
};

export const serial = elementBy("type", backend, backends, {
  target: one(
    element({
      type: optional(word("isa-serial"), guest("-device isa-serial")),
      port: optional(whole(0, 3), guest("-device index")),
      model: one(element({ name: needed(word("isa-serial"), guest("-device isa-serial")) })),
    }),
  ),
  alias: one(alias),
});
export type Serial = Model<typeof serial>;

export const consoleDevice = elementBy("type", backend, backends, {
  tty: optional(path, idle("the host chooses it")),
  target: one(
    element({
      type: defaulted(
        word("serial", "virtio"),
        "serial",
        guest("serial: an alias of the first serial port; virtio: -device virtconsole"),
      ),
      port: optional(whole(0, 31), idle("follows from the position in the list")),
    }),
  ),
  address: one(portAddress),
  alias: one(alias),
});
export type Console = Model<typeof consoleDevice>;

export const channel = elementBy("type", backend, backends, {
  target: exactlyOne(
    elementBy(
      "type",
      guest("-device virtserialport"),
      {
        virtio: {
          name: needed(
            text("a name such as org.qemu.guest_agent.0", /^[\w.-]{1,100}$/),
            guest("-device name"),
          ),
          state: optional(word("connected", "disconnected"), idle("the state is set by the guest")),
        },
      },
      {},
    ),
  ),
  address: one(portAddress),
  alias: one(alias),
});
export type Channel = Model<typeof channel>;
export type Backend = Serial | Console | Channel;
