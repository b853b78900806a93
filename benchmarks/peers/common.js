// What the peers share: settings, clinics by host, scalars, cursors, and what a booking stores.
import cluster from 'node:cluster'
import { readFileSync } from 'node:fs'
import { GraphQLScalarType, Kind } from 'graphql'
import { ObjectId } from 'mongodb'

export const settings = {
  uri: process.env.MONGODB_URI,
  database: process.env.MONGODB_DATABASE,
  port: Number(process.env.PORT),
  processes: Number(process.env.PROCESSES ?? '1'),
}
export const typeDefs = readFileSync(new URL('./schema.graphql', import.meta.url), 'utf8')
export const AUDIT = 'bench_audit'

// Runs `serve` in so many processes; with one there is no other beside it.
export function inProcesses(serve) {
  if (settings.processes > 1 && cluster.isPrimary) {
    for (let number = 0; number < settings.processes; number += 1) cluster.fork()
    process.on('SIGTERM', () => {
      for (const worker of Object.values(cluster.workers)) worker.kill('SIGTERM')
      process.exit(0)
    })
    return
  }
  process.on('SIGTERM', () => process.exit(0))
  serve().catch((error) => {
    console.error(error)
    process.exit(1)
  })
}

// Every clinic's id by subdomain, read once at the start.
export async function clinics(database) {
  const rows = await database.collection('tenants').find({}, { projection: { subdomain: 1 } }).toArray()
  return new Map(rows.map((row) => [row.subdomain, row._id]))
}

export function tenantOf(known, host) {
  const tenant = known.get(host.slice(0, host.indexOf('.')))
  if (tenant === undefined) throw new Error('there is no such clinic')
  return tenant
}

export const written = (moment) => moment.toISOString().replace('.000Z', '+00:00')

const text = (name, parse, serialize) => new GraphQLScalarType({
  name,
  serialize,
  parseValue: parse,
  parseLiteral: (node) => (node.kind === Kind.STRING ? parse(node.value) : undefined),
})
export const scalars = {
  Date: text('Date', (value) => value, (value) => value),
  DateTime: text('DateTime', (value) => new Date(value), written),
}

export function bounds(day) {
  const begins = new Date(`${day}T00:00:00Z`)
  return { $gte: begins, $lt: new Date(begins.getTime() + 86_400_000) }
}

export const cursorOf = (row) => Buffer.from(`${row.starts_at.getTime()}:${row._id}`).toString('base64url')

export function connection(rows, first) {
  const shown = rows.length > first ? rows.slice(0, first) : rows
  return {
    edges: shown.map((row) => ({ node: row })),
    pageInfo: {
      hasNextPage: rows.length > first,
      endCursor: shown.length ? cursorOf(shown[shown.length - 1]) : null,
    },
  }
}

export const fields = {
  edge: { cursor: (edge) => cursorOf(edge.node) },
  appointment: {
    id: (row) => row._id.toString(),
    startsAt: (row) => row.starts_at,
    status: (row) => row.status.toUpperCase(),
  },
  patient: {
    id: (row) => row._id.toString(),
    name: (row) => `${row.given_name} ${row.family_name}`,
  },
  staff: { id: (row) => row._id.toString() },
}

const MINUTES = 60_000
const bucket = (moment) => moment.toISOString().slice(0, 16).replaceAll('-', '').replace(':', '')

function claims(tenant, patient, doctor, starts) {
  const times = [0, 5, 10].map((late) => bucket(new Date(starts.getTime() + late * MINUTES)))
  const prefixes = [`doctor:${doctor}`, `patient:${tenant}:${patient}`]
  return prefixes.flatMap((prefix) => times.map((time) => `${prefix}:${time}`))
}

// A new appointment of a usual slot, as it is stored.
export function booking(tenant, input) {
  const [patient, doctor] = [new ObjectId(input.patientId), new ObjectId(input.doctorId)]
  const moment = new Date()
  const step = { at: moment, by: null, by_patient: false, action: 'booked', status: 'booked', reason: null }
  return {
    _id: new ObjectId(),
    tenant_id: tenant,
    patient_id: patient,
    doctor_id: doctor,
    room_id: null,
    service_id: null,
    starts_at: input.startsAt,
    ends_at: new Date(input.startsAt.getTime() + 15 * MINUTES),
    status: 'booked',
    reason: input.reason ?? null,
    notes: null,
    overbook_reason: null,
    cancel_reason: null,
    claims: claims(tenant, patient, doctor, input.startsAt),
    requests: [],
    history: [{ ...step, starts_at: input.startsAt }],
    created_by: null,
    version: 1,
    created_at: moment,
    updated_at: moment,
  }
}

export const auditRow = (tenant, patient) => ({
  _id: new ObjectId(),
  tenant_id: tenant,
  at: new Date(),
  user_id: null,
  action: 'createAppointment',
  result: 'ok',
  patient_ids: [patient],
  collections: ['appointments', 'patients'],
  subject: null,
  request_id: new ObjectId().toString(),
  address: '127.0.0.1',
})
