// What a program is: procedures and messages, each with its number and its types. libvirt's own are tables of this form;
// so is whatever two of our daemons have to say to one another.

import type { Xdr } from "./xdr.js";

interface ProgramId {
  readonly number: number;
  readonly version: number;
}

/**
 * Classifies a procedure by its effect. `read`: it answers and changes nothing. `own`: it changes the caller's own connection
 * and nothing else. `write`: everything else; a read-only connection is refused.
 */
type Access = "read" | "own" | "write";

export interface ProcedureRow<A, R, S extends boolean> {
  readonly number: number;
  readonly access: Access;
  readonly args: Xdr<A>;
  readonly ret: Xdr<R>;
  /** After its reply, the same serial carries a stream of bytes. */
  readonly stream: S;
  /** It passes calls that wait for their turn. */
  readonly urgent: boolean;
}

export interface MessageRow<T> {
  readonly number: number;
  readonly body: Xdr<T>;
}

interface Named {
  readonly name: string;
  readonly program: ProgramId;
}

export interface Procedure<A, R, S extends boolean = boolean> extends ProcedureRow<A, R, S>, Named {}
/** What a server tells without having been asked. */
export interface Message<T> extends MessageRow<T>, Named {}

type Rows = Readonly<Record<string, ProcedureRow<unknown, unknown, boolean>>>;
type MessageRows = Readonly<Record<string, MessageRow<unknown>>>;

export interface Program<P extends Rows = Rows, M extends MessageRows = MessageRows> extends ProgramId {
  readonly procedures: { readonly [N in keyof P]: P[N] & Named };
  readonly messages: { readonly [N in keyof M]: M[N] & Named };
}

export const procedure = <A, R>(
  number: number,
  access: Access,
  args: Xdr<A>,
  ret: Xdr<R>,
): ProcedureRow<A, R, false> => ({ number, access, args, ret, stream: false, urgent: false });

export const urgent = <A, R>(
  number: number,
  access: Access,
  args: Xdr<A>,
  ret: Xdr<R>,
): ProcedureRow<A, R, false> => ({ ...procedure(number, access, args, ret), urgent: true });

export const opensStream = <A, R>(
  number: number,
  access: Access,
  args: Xdr<A>,
  ret: Xdr<R>,
): ProcedureRow<A, R, true> => ({ ...procedure(number, access, args, ret), stream: true });

export const message = <T>(number: number, body: Xdr<T>): MessageRow<T> => ({ number, body });

/** Gives each row its name and its program, for whoever meets a procedure alone. */
export function program<P extends Rows, M extends MessageRows>(
  id: ProgramId,
  tables: { readonly procedures: P; readonly messages: M },
): Program<P, M> {
  const named = <R extends object>(rows: Readonly<Record<string, R>>) =>
    Object.fromEntries(Object.entries(rows).map(([name, row]) => [name, { ...row, name, program: id }]));
  return { ...id, procedures: named(tables.procedures), messages: named(tables.messages) } as Program<P, M>;
}

/** For the tables that are ours alone: "SWOV". */
export const ownProgram: ProgramId = { number: 0x53_57_4f_56, version: 1 };
