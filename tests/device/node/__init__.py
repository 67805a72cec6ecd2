"""Tests of the DICOM node, with a real archive (Orthanc) and the tools of dcmtk, where they are installed."""
