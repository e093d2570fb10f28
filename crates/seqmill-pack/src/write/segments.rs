//! Cutting contigs at splitters (`agc.md` §8.3).

use super::kmers::{Kmer, KmerScanner};
use super::splitters::Splitters;

/// A piece of a contig between two splitters.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) codes: Vec<u8>,
    pub(crate) front: Option<Kmer>,
    pub(crate) back: Option<Kmer>,
}

/// Cuts a contig that arrives bit by bit.
pub(crate) struct Segmenter {
    scanner: KmerScanner,
    overlap: usize,
    current: Vec<u8>,
    front: Option<Kmer>,
}

impl Segmenter {
    pub(crate) fn new(kmer_length: u32) -> Self {
        Self {
            scanner: KmerScanner::new(kmer_length),
            overlap: kmer_length as usize,
            current: Vec::new(),
            front: None,
        }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> u64 {
        self.current.capacity() as u64
    }

    /// Takes bases; gives the segments that have ended.
    pub(crate) fn push(&mut self, codes: &[u8], splitters: &Splitters, out: &mut Vec<Piece>) {
        let mut taken = 0;
        for (i, &code) in codes.iter().enumerate() {
            if !self.scanner.push(code) || !splitters.contains(self.scanner.canonical()) {
                continue;
            }
            let kmer = self.scanner.kmer();
            self.current.extend_from_slice(codes.get(taken..=i).unwrap_or_default());
            taken = i + 1;
            let rest = self.current.len().saturating_sub(self.overlap);
            let next = self.current.get(rest..).unwrap_or_default().to_vec();
            let segment = std::mem::replace(&mut self.current, next);
            out.push(Piece { codes: segment, front: self.front, back: Some(kmer) });
            self.front = Some(kmer);
            self.scanner.restart();
        }
        self.current.extend_from_slice(codes.get(taken..).unwrap_or_default());
    }

    /// Ends the contig; gives the last segment, which a contig that ends with a splitter lacks.
    pub(crate) fn end(&mut self) -> Option<Piece> {
        self.scanner.restart();
        let codes = std::mem::take(&mut self.current);
        let front = self.front.take();
        let empty = codes.is_empty() || (front.is_some() && codes.len() <= self.overlap);
        (!empty).then_some(Piece { codes, front, back: None })
    }
}

#[cfg(test)]
mod tests {
    use super::super::kmers::murmur64;
    use super::*;

    #[test]
    fn segments_overlap_by_a_splitter() {
        let codes: Vec<u8> = (0..5000).map(|i| (murmur64(i) % 4) as u8).collect();
        let mut scanner = KmerScanner::new(21);
        let mut kmers = Vec::new();
        for (i, &c) in codes.iter().enumerate() {
            if scanner.push(c) && [999, 1005, 3000, 4999].contains(&i) {
                kmers.push(scanner.canonical());
            }
        }
        let splitters = Splitters::from_kmers(kmers.into_iter());
        let mut whole: Option<Vec<usize>> = None;
        for size in [1, 7, 5000] {
            let mut segmenter = Segmenter::new(21);
            let mut pieces = Vec::new();
            for part in codes.chunks(size) {
                segmenter.push(part, &splitters, &mut pieces);
            }
            pieces.extend(segmenter.end());
            // The second splitter lies within the window that restarts behind the first one.
            let lengths: Vec<usize> = pieces.iter().map(|p| p.codes.len()).collect();
            assert_eq!(lengths, [1000, 2022, 2020]);
            let mut back = pieces[0].codes.clone();
            for piece in &pieces[1..] {
                back.extend_from_slice(&piece.codes[21..]);
            }
            assert_eq!(back, codes);
            assert_eq!(*whole.get_or_insert(lengths.clone()), lengths);
        }
    }
}
