/** The server's schema as introspection tells it, and runnable skeletons made from it. */

export const INTROSPECTION = `query ConsoleIntrospection {
  __schema {
    queryType { name }
    mutationType { name }
    subscriptionType { name }
    types {
      kind
      name
      description
      fields(includeDeprecated: true) {
        name
        description
        isDeprecated
        deprecationReason
        args(includeDeprecated: true) { ...Input }
        type { ...Reference }
      }
      inputFields(includeDeprecated: true) { ...Input }
      enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason }
      possibleTypes { name }
    }
    directives { name description args { ...Input } }
  }
}

fragment Input on __InputValue {
  name
  description
  defaultValue
  isDeprecated
  deprecationReason
  type { ...Reference }
}

fragment Reference on __Type {
  kind
  name
  ofType { kind name ofType { kind name ofType { kind name } } }
}
`;

/** The name at the heart of a type reference: `[Patient!]!` → `Patient`. */
export function named(reference) {
  let type = reference;
  while (type?.ofType) type = type.ofType;
  return type?.name ?? null;
}

/** A type reference as GraphQL writes it. */
export function typeText(reference) {
  if (reference.kind === "NON_NULL") return `${typeText(reference.ofType)}!`;
  if (reference.kind === "LIST") return `[${typeText(reference.ofType)}]`;
  return reference.name;
}

export const isRequired = (input) => input.type.kind === "NON_NULL" && input.defaultValue === null;

const isList = (reference) => (reference.kind === "NON_NULL" ? reference.ofType : reference).kind === "LIST";
const isLeaf = (type) => type.kind === "SCALAR" || type.kind === "ENUM";
const byName = (list) => new Map((list ?? []).map((each) => [each.name, each]));

export class Schema {
  /** @param {Object} data the `data` of an introspection answer */
  constructor({ __schema: raw }) {
    this.types = byName(
      raw.types.map((type) => ({
        ...type,
        fields: type.fields && byName(type.fields),
        inputFields: type.inputFields && byName(type.inputFields),
      })),
    );
    this.directives = byName(raw.directives);
    this.roots = { query: raw.queryType, mutation: raw.mutationType, subscription: raw.subscriptionType };
  }

  /** The root type of `query`, `mutation` or `subscription`; null when there is none. */
  root(kind) {
    return this.types.get(this.roots[kind]?.name) ?? null;
  }

  typeOf(reference) {
    return this.types.get(named(reference)) ?? null;
  }

  /** Types a reader cares for: not introspection's own and not the roots. */
  get published() {
    const roots = new Set(Object.values(this.roots).map((root) => root?.name));
    return [...this.types.values()]
      .filter(({ name }) => !name.startsWith("__") && !roots.has(name))
      .sort((a, b) => a.name.localeCompare(b.name));
  }

  /**
   * The part of `wanted` that a field's type really has, as a selection: `{name: {}, role: {name: {}}}` → `{ name role { name } }`.
   * An empty text for a scalar; `{ __typename }` when nothing of it exists.
   */
  pick(field, wanted) {
    const type = this.typeOf(field.type);
    if (!type || isLeaf(type)) return "";
    const parts = Object.entries(wanted).flatMap(([name, inner]) => {
      const child = type.fields?.get(name);
      return child && !child.args.some(isRequired) ? [`${name} ${this.pick(child, inner)}`.trim()] : [];
    });
    return `{ ${parts.join(" ") || "__typename"} }`;
  }

  /**
   * A document that runs `field`, its required arguments as variables.
   * @returns {{query: string, variables: Object}}
   */
  skeleton(kind, field) {
    const required = field.args.filter(isRequired);
    const title = field.name[0].toUpperCase() + field.name.slice(1);
    const declared = required.map(({ name, type }) => `$${name}: ${typeText(type)}`).join(", ");
    const passed = required.map(({ name }) => `${name}: $${name}`).join(", ");
    const body = this.selection(this.typeOf(field.type), "  ", new Set());
    const call = `${field.name}${passed && `(${passed})`}${body && ` ${body}`}`;
    const variables = Object.fromEntries(
      required.map((input) => [input.name, this.sample(input.type, input.name)]),
    );
    return { query: `${kind} ${title}${declared && `(${declared})`} {\n  ${call}\n}\n`, variables };
  }

  /** Leaves of `type`, and one level of what hangs on it; connections are followed to their nodes. */
  selection(type, indent, seen) {
    if (!type || isLeaf(type)) return "";
    const inner = `${indent}  `;
    const inside = new Set([...seen, type.name]);
    const lines = type.fields
      ? [...type.fields.values()].flatMap((field) => this.line(field, inner, inside))
      : this.fragments(type, inner, inside);
    return `{\n${(lines.length ? lines : [`${inner}__typename`]).join("\n")}\n${indent}}`;
  }

  line(field, indent, seen) {
    const type = this.typeOf(field.type);
    if (!type || field.isDeprecated || field.args.some(isRequired)) return [];
    if (isLeaf(type)) return [indent + field.name];
    const plumbing =
      ["edges", "node", "pageInfo"].includes(field.name) || (seen.size === 1 && !this.isConnection(type));
    if (plumbing && !seen.has(type.name))
      return [`${indent}${field.name} ${this.selection(type, indent, seen)}`];
    const brief = ["id", "name", "title", "amount", "currency"].filter((name) =>
      this.isPlainLeaf(type, name),
    );
    return brief.length && !isList(field.type) ? [`${indent}${field.name} { ${brief.join(" ")} }`] : [];
  }

  fragments(type, indent, seen) {
    const possible = (type.possibleTypes ?? []).map(({ name }) => this.types.get(name));
    return [
      `${indent}__typename`,
      ...possible.map((each) => `${indent}... on ${each.name} ${this.selection(each, indent, seen)}`),
    ];
  }

  isConnection(type) {
    return Boolean(type.fields?.has("edges") && type.fields.has("pageInfo"));
  }

  isPlainLeaf(type, name) {
    const field = type.fields?.get(name);
    return Boolean(field && !field.args.some(isRequired) && isLeaf(this.typeOf(field.type)));
  }

  /** A value to start from: only what is required, of the right shape. */
  sample(reference, name, seen = new Set()) {
    if (isList(reference)) return [];
    const type = this.typeOf(reference);
    if (name === "idempotencyKey") return "{{uuid}}";
    if (type?.kind === "ENUM") return type.enumValues.find(({ isDeprecated }) => !isDeprecated)?.name ?? "";
    if (!type?.inputFields) return SCALARS[type?.name] ?? "";
    if (seen.has(type.name)) return {};
    const inside = new Set([...seen, type.name]);
    const required = [...type.inputFields.values()].filter(isRequired);
    return Object.fromEntries(
      required.map((input) => [input.name, this.sample(input.type, input.name, inside)]),
    );
  }
}

const SCALARS = { Int: 0, Float: 0, Boolean: false, Date: "{{today}}", DateTime: "{{now}}", Decimal: "0.00" };
