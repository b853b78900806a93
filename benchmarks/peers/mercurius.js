// Mercurius with graphql-jit on the mongodb driver: node mercurius.js dataloader|prefetch
// Rows come with the columns that a relation or a list needs; relations by one loader a request and collection, or,
// with prefetch, by the resolver of the list itself.
import DataLoader from 'dataloader'
import Fastify from 'fastify'
import mercurius from 'mercurius'
import { MongoClient, ObjectId } from 'mongodb'
import {
  AUDIT, auditRow, booking, bounds, clinics, connection, fields, inProcesses, scalars, settings, tenantOf, typeDefs,
} from './common.js'

const PATIENT = { given_name: 1, family_name: 1, phone: 1 }
const STAFF = { name: 1 }
const SHOWN = { starts_at: 1, status: 1, reason: 1, patient_id: 1, doctor_id: 1 }
const prefetching = process.argv[2] === 'prefetch'

const byKey = (rows) => new Map(rows.map((row) => [row._id.toString(), row]))

function reader(collection, owner, tenant, projection) {
  return (ids) => collection.find({ _id: { $in: ids }, [owner]: tenant }, { projection }).toArray().then(byKey)
}

function context(database, tenant) {
  const readPatients = reader(database.collection('patients'), 'tenant_ids', tenant, PATIENT)
  const readStaff = reader(database.collection('staff'), 'tenant_id', tenant, STAFF)
  const loader = (read) => new DataLoader(
    async (ids) => {
      const found = await read(ids)
      return ids.map((id) => found.get(id.toString()) ?? null)
    },
    { cacheKeyFn: (id) => id.toString() },
  )
  return {
    tenant, database, readPatients, readStaff, patients: loader(readPatients), doctors: loader(readStaff),
  }
}

async function prefetch(rows, context) {
  const distinct = (column) => [...new Map(rows.map((row) => [row[column].toString(), row[column]])).values()]
  const [patients, doctors] = await Promise.all([
    context.readPatients(distinct('patient_id')), context.readStaff(distinct('doctor_id')),
  ])
  for (const row of rows) {
    row.patient = patients.get(row.patient_id.toString()) ?? null
    row.doctor = doctors.get(row.doctor_id.toString()) ?? null
  }
}

const resolvers = {
  ...scalars,
  Query: {
    async appointments(_, { filter, first }, context) {
      const where = { tenant_id: context.tenant, starts_at: bounds(filter.day) }
      const rows = await context.database.collection('appointments')
        .find(where, { projection: SHOWN }).sort({ starts_at: 1, _id: 1 }).limit(first + 1).toArray()
      if (prefetching) await prefetch(rows.slice(0, first), context)
      return connection(rows, first)
    },
    async patient(_, { id }, { database, tenant }) {
      const where = { _id: new ObjectId(id), tenant_ids: tenant }
      const row = await database.collection('patients').findOne(where, { projection: PATIENT })
      if (row === null) throw new Error('not found')
      return row
    },
  },
  Mutation: {
    async createAppointment(_, { input }, context) {
      const { database, tenant } = context
      const row = booking(tenant, input)
      await database.collection('appointments').insertOne(row)
      await database.collection(AUDIT).insertOne(auditRow(tenant, row.patient_id))
      if (prefetching) await prefetch([row], context)
      return row
    },
  },
  AppointmentEdge: fields.edge,
  Appointment: prefetching ? fields.appointment : {
    ...fields.appointment,
    patient: (row, _, { patients }) => patients.load(row.patient_id),
    doctor: (row, _, { doctors }) => doctors.load(row.doctor_id),
  },
  Patient: {
    ...fields.patient,
    async appointments(row, { first }, { database, tenant }) {
      const rows = await database.collection('appointments')
        .find({ tenant_id: tenant, patient_id: row._id }, { projection: SHOWN })
        .sort({ starts_at: -1, _id: -1 }).limit(first + 1).toArray()
      return connection(rows, first)
    },
  },
  Staff: fields.staff,
}

inProcesses(async () => {
  const client = await new MongoClient(settings.uri, { writeConcern: { w: 'majority' } }).connect()
  const database = client.db(settings.database)
  const known = await clinics(database)
  const app = Fastify()
  app.register(mercurius, {
    schema: typeDefs,
    resolvers,
    jit: 1,
    path: '/graphql',
    context: (request) => context(database, tenantOf(known, request.headers.host)),
  })
  await app.listen({ host: '127.0.0.1', port: settings.port })
})
