//! Tells where an address is, by MaxMind's files where a person gives them: country and city, and the network it belongs to.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::Args;
use maxminddb::{Reader, geoip2};
use serde_json::{Map, Value, json};

/// The files that are given.
#[derive(Args, Clone, Debug, Default)]
pub struct GeoIpOptions {
    /// MaxMind file (.mmdb) with cities, countries or networks (ASN) of addresses; several may be given
    #[arg(long = "geoip", value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// MaxMind files, opened.
/// <https://maxmind.github.io/MaxMind-DB/>
#[derive(Clone, Default)]
pub struct GeoIp(Arc<Vec<Reader<Vec<u8>>>>);

impl GeoIpOptions {
    /// Opens the files.
    ///
    /// # Errors
    /// One cannot be read, or is no MaxMind file.
    pub fn open(&self) -> Result<GeoIp> {
        let open = |file: &PathBuf| {
            let bytes = std::fs::read(file).with_context(|| format!("--geoip {}", file.display()))?;
            Reader::from_source(bytes).with_context(|| format!("--geoip {} is no MaxMind file", file.display()))
        };
        self.files.iter().map(open).collect::<Result<_>>().map(|readers| GeoIp(Arc::new(readers)))
    }
}

impl GeoIp {
    /// True if no file was given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// ISO code of the country that an address is in.
    pub fn country(&self, address: &str) -> Option<String> {
        self.city(address.parse().ok()?)?.country.iso_code.map(str::to_owned)
    }

    /// The network that an address belongs to: `AS64500 Example`.
    pub fn network(&self, address: &str) -> Option<String> {
        let network = self.asn(address.parse().ok()?)?;
        let number = network.autonomous_system_number?;
        Some(format!("AS{number} {}", network.autonomous_system_organization.unwrap_or_default()).trim_end().to_owned())
    }

    /// An address under the names of the Elastic Common Schema: `geo` and `as`, each where a file knows it.
    /// <https://www.elastic.co/docs/reference/ecs/ecs-geo>, <https://www.elastic.co/docs/reference/ecs/ecs-as>
    pub fn fields(&self, address: IpAddr) -> Map<String, Value> {
        let geo = self.city(address).map(geo).unwrap_or_default();
        let network = self.asn(address).map(network).unwrap_or_default();
        let fields = [("geo", geo), ("as", network)].into_iter().filter(|(_, fields)| !fields.is_empty());
        fields.map(|(name, fields)| (name.to_owned(), Value::Object(fields))).collect()
    }

    /// What the first file that knows cities or countries has.
    fn city(&self, address: IpAddr) -> Option<geoip2::City<'_>> {
        let of_kind = |kind: &str| kind.contains("City") || kind.contains("Country") || kind.contains("Enterprise");
        self.first(of_kind).find_map(|reader| reader.lookup(address).ok()?.decode().ok().flatten())
    }

    /// What the first file that knows networks has.
    fn asn(&self, address: IpAddr) -> Option<geoip2::Asn<'_>> {
        let of_kind = |kind: &str| kind.contains("ASN") || kind.contains("ISP") || kind.contains("Enterprise");
        self.first(of_kind).find_map(|reader| reader.lookup(address).ok()?.decode().ok().flatten())
    }

    fn first(&self, is_of_kind: impl Fn(&str) -> bool) -> impl Iterator<Item = &Reader<Vec<u8>>> {
        self.0.iter().filter(move |reader| is_of_kind(&reader.metadata().database_type))
    }
}

fn geo(city: geoip2::City<'_>) -> Map<String, Value> {
    let region = city.subdivisions.first();
    let code = region.and_then(|region| region.iso_code).zip(city.country.iso_code).map(|(region, country)| format!("{country}-{region}"));
    let location = city.location.latitude.zip(city.location.longitude).map(|(lat, lon)| json!({ "lat": lat, "lon": lon }));
    present([
        ("continent_name", city.continent.names.english.map(Value::from)),
        ("country_iso_code", city.country.iso_code.map(Value::from)),
        ("country_name", city.country.names.english.map(Value::from)),
        ("region_iso_code", code.map(Value::from)),
        ("region_name", region.and_then(|region| region.names.english).map(Value::from)),
        ("city_name", city.city.names.english.map(Value::from)),
        ("location", location),
    ])
}

fn network(asn: geoip2::Asn<'_>) -> Map<String, Value> {
    present([
        ("number", asn.autonomous_system_number.map(Value::from)),
        ("organization", asn.autonomous_system_organization.map(|name| json!({ "name": name }))),
    ])
}

fn present<const N: usize>(fields: [(&str, Option<Value>); N]) -> Map<String, Value> {
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}
