mod any_octets;
mod classic;
mod nodes;
mod procedures;
mod segments;
mod sessions;
mod tables;
mod vectors;
