
/** The calls of a page by name, from the schema above. */
type Keys<U> = U extends object ? keyof U : never;
export type CallName = Keys<Call>;
/** What a call takes. */
export type Parameters<N extends CallName> = Extract<Call, Record<N, unknown>>[N];
