// The list of all cases.

import { booting } from "./booting.js";
import type { Case } from "./case.js";
import { characters, networks } from "./devices.js";
import { disks } from "./disks.js";
import { displays } from "./displays.js";
import { machine } from "./machine.js";
import { others } from "./others.js";

export const cases: readonly Case[] = [
  ...machine,
  ...booting,
  ...disks,
  ...networks,
  ...characters,
  ...displays,
  ...others,
];
